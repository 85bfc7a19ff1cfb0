"""What the node tells the API of one pod: its latest status as soon as it changes, and at last its end."""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import structlog

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lab.node.podspec import POD, Pod
from isthmus.lib.backoff import Backoff

_STRATEGIC = "application/strategic-merge-patch+json"
"""Merges conditions by type, so that those of others stay."""
Conditions = dict[str, tuple[str, str]]
_log = structlog.get_logger()


class StatusPublisher:
    """Patches the status that `derive` gives; changes made while it writes go into the next patch."""

    def __init__(self, client: Client, pod: Pod, derive: Callable[[Conditions], dict[str, Any]]) -> None:
        self._client = client
        self._pod = pod
        self._derive = derive
        self._conditions: Conditions = {
            each.type: (each.status, each.last_transition_time) for each in pod.status.conditions
        }
        self._written: dict[str, Any] = {}
        self._dirty = asyncio.Event()
        self._idle = asyncio.Event()

    def wake(self) -> None:
        """The status may have changed."""
        self._idle.clear()
        self._dirty.set()

    async def flush(self) -> None:
        """Return when the API server has the latest status, or the pod is gone."""
        self.wake()
        await self._idle.wait()

    async def serve(self) -> NoReturn:
        """Publish for ever."""
        backoff = Backoff(initial=0.1, cap=5.0)
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._publish()
            except (ApiError, Unreachable) as error:
                _log.warning("status not written; will be again", pod=self._pod.ref, error=str(error))
                self._dirty.set()
                await asyncio.sleep(backoff.next_delay())
                continue
            backoff.reset()
            if not self._dirty.is_set():
                self._idle.set()

    async def _publish(self) -> None:
        status = self._derive(self._conditions)
        if status == self._written:
            return
        meta = self._pod.metadata
        body = {"metadata": {"uid": meta.uid}, "status": status}
        try:
            await self._client.patch(
                POD, meta.name, body, meta.namespace, subresource="status", content_type=_STRATEGIC
            )
        except ApiError as error:
            if error.status not in (404, 409):  # gone, or another pod has its name by now
                raise
        self._written = status
        self._conditions = {
            each["type"]: (each["status"], each["lastTransitionTime"]) for each in status["conditions"]
        }


async def remove_object(client: Client, pod: Pod) -> None:
    """Delete the Pod with grace 0: the node's word that nothing of it runs any more. Tries until done."""
    meta, backoff = pod.metadata, Backoff(initial=0.1, cap=5.0)
    while True:
        try:
            await client.delete(POD, meta.name, meta.namespace, grace_seconds=0, uid=meta.uid)
            return
        except ApiError as error:
            if error.status in (404, 409):
                return
            _log.warning("pod not removed; will be again", pod=pod.ref, error=str(error))
        except Unreachable as error:
            _log.warning("pod not removed; will be again", pod=pod.ref, error=str(error))
        await asyncio.sleep(backoff.next_delay())
