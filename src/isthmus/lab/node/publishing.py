"""What the node tells the API of one pod: its latest status as soon as it changes, and at last its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

import structlog

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lab.node.podspec import POD, Pod
from isthmus.lib.backoff import Backoff

_STRATEGIC = "application/strategic-merge-patch+json"
"""Merges conditions by type, so that those of others stay."""
Conditions: TypeAlias = dict[str, tuple[str, str]]
"""By type: the status, and the time of its last change."""
WriteStatus: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
"""Writes a status; it raises as the client does."""
_log = structlog.get_logger()


def status_writer(client: Client, pod: Pod) -> WriteStatus:
    """Patches the status of that very pod, not of a later one of its name."""
    meta = pod.metadata

    async def write(status: dict[str, Any]) -> None:
        if "podIPs" in status:  # merged by address otherwise: a restarted pod would keep its old one
            status = {**status, "podIPs": [*status["podIPs"], {"$patch": "replace"}]}
        body = {"metadata": {"uid": meta.uid}, "status": status}
        await client.patch(
            POD, meta.name, body, meta.namespace, subresource="status", content_type=_STRATEGIC
        )

    return write


class StatusPublisher:
    """Writes the status that `derive` gives; changes made while it writes go into the next write.

    `conditions` are those that the pod has so far.
    """

    def __init__(
        self, write: WriteStatus, derive: Callable[[Conditions], dict[str, Any]], conditions: Conditions
    ) -> None:
        self._write = write
        self._derive = derive
        self._conditions = conditions
        self._abandoned = False
        self._written: dict[str, Any] = {}
        self._dirty = asyncio.Event()
        self._idle = asyncio.Event()

    def wake(self) -> None:
        """The status may have changed."""
        self._idle.clear()
        self._dirty.set()

    def abandon(self) -> None:
        """The pod is gone: write nothing more."""
        self._abandoned = True
        self.wake()

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
                if not self._abandoned:
                    await self._publish()
            except (ApiError, Unreachable) as error:
                _log.warning("pod status not written; will be again", error=str(error))
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
        try:
            await self._write(status)
        except ApiError as error:
            if error.status != 404:
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
