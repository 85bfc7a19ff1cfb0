"""Writes Events (core/v1) on cluster Secrets, in the control plane's namespace.

What is said again counts up the same Event; when the reason of what lasts becomes another, that is said too,
but not each of many. Without the right to write them it stops, says so, and leaves everything else as it is;
it keeps nobody waiting, and tries again when a minute has passed.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn

import structlog

from isthmus.clusters.api import Api
from isthmus.clusters.complaints import Complaint
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import untyped

EVENT = untyped("", "v1", "events", "Event")
_SOURCE = "istio-pilot"
_GATHER = 1.0
"""Seconds in which several changes become one Event."""
_CALM = 30.0
"""Seconds between two Events about the same in other words: watches fail one by one, and not all alike."""
_AGAIN = 2700.0
"""Seconds after which what lasts is said again: a server keeps Events for an hour (--event-ttl)."""
_NEVER = float("inf")
_LOOK = 60.0
"""Seconds after which it is looked whether there is something new to say, though nothing has happened."""
_RETRY = 60.0
_MOST = 1000

_log = structlog.stdlib.get_logger(__name__)
Subject = tuple[str, str, str]


class _Said(NamedTuple):
    """What was written last about a subject; `at` is in the loop's time."""

    message: str
    at: float

    def due(self, complaint: Complaint) -> float:
        """When it is to be said again as it is now, in the loop's time; what is no trouble is not."""
        if complaint.message != self.message:
            return self.at + _CALM
        return self.at + (_NEVER if complaint.normal else _AGAIN)


class Recorder:
    """Events about what `look` has to say; `wake` says that it may have changed.

    `refusal` says in words why no Events are written, "" while they are.
    """

    def __init__(self, namespace: str, look: Callable[[], Mapping[Subject, Complaint]]) -> None:
        self.refusal = ""
        self._namespace = namespace
        self._look = look
        self._woken = asyncio.Event()
        self._said: dict[Subject, _Said] = {}
        self._written: dict[Complaint, tuple[str, int]] = {}

    def wake(self) -> None:
        """Something may have changed."""
        self._woken.set()

    async def serve(self, api: Api) -> NoReturn:
        """Write what is new, for ever."""
        clock = asyncio.get_running_loop().time
        due = clock() + _LOOK
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._woken.wait()
            await asyncio.sleep(_GATHER)
            self._woken.clear()
            now, due = self._look(), clock() + _LOOK
            self._said = {subject: said for subject, said in self._said.items() if subject in now}
            try:
                for subject, each in now.items():
                    said = self._said.get(subject)
                    if said is None or clock() >= said.due(each):
                        await self._write(api, each)
                        said = self._said[subject] = _Said(each.message, clock())
                    due = min(due, said.due(each))
                self.refusal = ""
            except (ApiError, Unreachable) as error:
                if not self.refusal:
                    _log.warning("events cannot be written", reason=str(error))
                self.refusal = f"Events about clusters cannot be written: {error}"
                await asyncio.sleep(_RETRY)
                self._woken.set()

    async def _write(self, api: Api, complaint: Complaint) -> None:
        name, count = self._written.pop(complaint, ("", 0))
        now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        if name:
            try:
                seen = {"count": count + 1, "lastTimestamp": now}
                await api.patch(EVENT, name, seen, self._namespace)
            except ApiError as error:
                if error.status != 404:
                    raise
                name, count = "", 0  # Events live for an hour
        if not name:
            name = f"{complaint.secret.partition('/')[2][:200]}.{uuid.uuid4().hex[:16]}"
            await api.create(EVENT, _event(complaint, name, self._namespace, now), self._namespace)
        self._written[complaint] = (name, count + 1)
        while len(self._written) > _MOST:
            del self._written[next(iter(self._written))]


def _event(complaint: Complaint, name: str, namespace: str, now: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Secret",
            "namespace": namespace,
            "name": complaint.secret.partition("/")[2],
        },
        "type": "Normal" if complaint.normal else "Warning",
        "reason": complaint.reason,
        "message": complaint.message,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": _SOURCE},
    }
