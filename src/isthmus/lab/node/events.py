"""Events about pods, for people: posted in the background, counted when repeated, dropped when too many."""

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn

import structlog

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import untyped
from isthmus.lab.node.podspec import Pod
from isthmus.lab.node.status import timestamp

EVENT = untyped("", "v1", "events", "Event")
_MOST_WAITING = 256
_MOST_REMEMBERED = 1024
_log = structlog.get_logger()


class _Told(NamedTuple):
    uid: str
    container: str
    reason: str
    message: str


class Events:
    """The node's voice in `kubectl describe`."""

    def __init__(self, client: Client, node_name: str) -> None:
        self._client = client
        self._node = node_name
        self._waiting: asyncio.Queue[tuple[_Told, dict[str, Any]]] = asyncio.Queue(_MOST_WAITING)
        self._posted: OrderedDict[_Told, tuple[str, int]] = OrderedDict()

    def tell(
        self, pod: Pod, reason: str, message: str, *, warning: bool = False, container: str = ""
    ) -> None:
        """Say something about a pod, or one of its containers; never waits."""
        about: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.metadata.namespace,
            "name": pod.metadata.name,
            "uid": pod.metadata.uid,
        }
        if container:
            about["fieldPath"] = f"spec.containers{{{container}}}"
        body = {"involvedObject": about, "reason": reason, "message": message}
        body["type"] = "Warning" if warning else "Normal"
        try:
            self._waiting.put_nowait((_Told(pod.metadata.uid, container, reason, message), body))
        except asyncio.QueueFull:
            _log.warning("event dropped", pod=pod.ref, reason=reason)

    async def serve(self) -> NoReturn:
        """Post for ever; an event that cannot be posted is lost, as a kubelet's may be."""
        while True:
            told, body = await self._waiting.get()
            try:
                await self._post(told, body)
            except (ApiError, Unreachable) as error:
                _log.warning("event not posted", reason=told.reason, error=str(error))

    async def _post(self, told: _Told, body: dict[str, Any]) -> None:
        namespace, now = body["involvedObject"]["namespace"], timestamp(datetime.now(UTC))
        if told in self._posted:
            name, count = self._posted[told]
            patch = {"count": count + 1, "lastTimestamp": now}
            await self._client.patch(EVENT, name, patch, namespace)
        else:
            name, count = f"{body['involvedObject']['name']}.{_now_hex()}", 0
            meta = {"name": name, "namespace": namespace}
            source = {"component": "kubelet", "host": self._node}
            times = {"firstTimestamp": now, "lastTimestamp": now, "count": 1}
            extra = {"reportingComponent": "kubelet", "reportingInstance": self._node}
            event = {"apiVersion": "v1", "kind": "Event", "metadata": meta, "source": source}
            await self._client.create(EVENT, event | body | times | extra, namespace)
        self._posted[told] = name, count + 1
        while len(self._posted) > _MOST_REMEMBERED:
            self._posted.popitem(last=False)


def _now_hex() -> str:
    """The time as kubelets end the names of events with it."""
    return f"{int(datetime.now(UTC).timestamp() * 1e9):016x}"
