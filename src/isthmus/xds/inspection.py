"""Questions about the mesh over ADS, as `istioctl` asks them: types that begin with `istio.io/debug`.

A stream whose first request names such a type is no proxy's: it is answered question by question, and never
hears of a change. What is answered, and to whom, its `Inspect` decides. Source: Istio, pilot/pkg/xds,
"debug" and "status" generators.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any

from isthmus.model.identity import Identity
from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.h2_call import Call, End
from isthmus.xds.shelf import Form
from isthmus.xds.wire import names_of, read_delta_request, read_request

PREFIX = "istio.io/debug"
_MOST_WAITING = 8


@dataclass(frozen=True, slots=True)
class Findings:
    """An answer: resources by name, and who gives it (`control_plane.identifier`; "" for nobody)."""

    resources: Sequence[tuple[str, Any]]
    answered_by: str = ""


Inspect = Callable[[str, Sequence[str], Identity], Findings]
"""Answers (type, resource names, who asks) from memory. Raises CallFailed."""


def is_question(type_url: str) -> bool:
    """Whether no proxy asks for that."""
    return type_url == PREFIX or type_url.startswith(PREFIX + "/")


class InspectionCall:
    """A `h2_call.Service`."""

    __slots__ = ("_asked", "_call", "_form", "_identity", "_inspect", "_nonce")

    def __init__(self, inspect: Inspect, form: Form, call: Call, identity: Identity) -> None:
        self._inspect = inspect
        self._form = form
        self._call = call
        self._identity = identity
        self._asked: deque[tuple[str, Sequence[str]]] = deque()
        self._nonce = 0

    def receive(self, message: bytes) -> None:
        """See `Service`. What accepts the last answer asks nothing."""
        if self._form is Form.WHOLE:
            whole = read_request(message)
            type_url, nonce, names = whole.type_url, whole.nonce, names_of(whole.names)
        else:
            delta = read_delta_request(message)
            type_url, nonce, names = delta.type_url, delta.nonce, sorted(delta.subscribe)
        if self._nonce and nonce == str(self._nonce):
            return
        if not is_question(type_url):
            raise CallFailed(
                Status.INVALID_ARGUMENT, f"{type_url!r} is asked on a stream that asked for {PREFIX} before"
            )
        if len(self._asked) >= _MOST_WAITING:
            raise CallFailed(Status.RESOURCE_EXHAUSTED, "too many questions before the first was answered")
        self._asked.append((type_url, names))
        self._call.wake()

    def take(self) -> bytes | None:
        """See `Service`. The answer is of the moment in which it is sent."""
        if not self._asked:
            return None
        type_url, names = self._asked.popleft()
        try:
            findings = self._inspect(type_url, names, self._identity)
        except CallFailed as failure:
            self._call.finish(failure.status, failure.reason)
            return None
        self._nonce += 1
        if self._form is Form.WHOLE:
            whole = discovery_pb2.DiscoveryResponse(
                version_info=str(self._nonce),
                type_url=type_url,
                nonce=str(self._nonce),
                resources=[resource for _, resource in findings.resources],
            )
            whole.control_plane.identifier = findings.answered_by
            return whole.SerializeToString()
        delta = discovery_pb2.DeltaDiscoveryResponse(
            type_url=type_url,
            nonce=str(self._nonce),
            resources=[
                discovery_pb2.Resource(name=name, resource=resource) for name, resource in findings.resources
            ],
        )
        delta.control_plane.identifier = findings.answered_by
        return delta.SerializeToString()

    def half_closed(self) -> None:
        """See `Service`."""
        self._call.finish(Status.OK)

    def closed(self, end: End) -> None:
        """See `Service`."""
        self._asked.clear()
