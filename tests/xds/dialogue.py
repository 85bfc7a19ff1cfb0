"""A proxy that talks to the hub without any transport, so that tests read as a dialogue."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from isthmus.xds.hub import Hub
from isthmus.xds.shelf import Form
from tests.xds.fakes import FakeWire


def node(pod: str = "p", namespace: str = "ns") -> base_pb2.Node:
    return base_pb2.Node(id=f"sidecar~10.0.0.1~{pod}.{namespace}~{namespace}.svc.cluster.local")


class Clock:
    """Time that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Heard:
    """One response: its type, nonce, bodies by name (state of the world: the body's text before `=`)."""

    type_url: str
    nonce: str
    resources: dict[str, str]
    removed: set[str] = field(default_factory=set[str])


class WholeProxy:
    """A state-of-the-world proxy. It remembers what it subscribed to and repeats it, as Envoy does."""

    def __init__(self, hub: Hub, pod: str = "p") -> None:
        self.wire = FakeWire()
        self.exchange = hub.connect(Form.WHOLE, self.wire)
        self.node: base_pb2.Node | None = node(pod)
        self.names: dict[str, list[str]] = {}
        self.nonces: dict[str, str] = {}

    def ask(self, type_url: str, *names: str, nonce: str | None = None) -> None:
        self.names[type_url] = list(names)
        self._send(type_url, self.nonces.get(type_url, "") if nonce is None else nonce)

    def hear(self) -> Heard | None:
        data = self.exchange.take()
        if data is None:
            return None
        message = discovery_pb2.DiscoveryResponse.FromString(data)
        assert all(one.type_url == message.type_url for one in message.resources)
        pairs = [one.value.decode().split("=") for one in message.resources]
        assert len({name for name, _ in pairs}) == len(pairs), "a name is sent twice"
        self.nonces[message.type_url] = message.nonce
        return Heard(message.type_url, message.nonce, dict(pairs))

    def ack(self, heard: Heard) -> None:
        self._send(heard.type_url, heard.nonce)

    def nack(self, heard: Heard, reason: str) -> None:
        self._send(heard.type_url, heard.nonce, status_pb2.Status(code=3, message=reason))

    def _send(self, type_url: str, nonce: str, error: status_pb2.Status | None = None) -> None:
        request = discovery_pb2.DiscoveryRequest(
            node=self.node,
            type_url=type_url,
            resource_names=self.names.get(type_url, []),
            response_nonce=nonce,
            error_detail=error,
        )
        self.node = None
        self.exchange.receive(request.SerializeToString())

    def listen(self) -> list[Heard]:
        """Take and accept everything."""
        heard: list[Heard] = []
        while (one := self.hear()) is not None:
            heard.append(one)
            self.ack(one)
        return heard


class DeltaProxy:
    """An incremental proxy."""

    def __init__(self, hub: Hub, pod: str = "p") -> None:
        self.wire = FakeWire()
        self.exchange = hub.connect(Form.DELTA, self.wire)
        self.node: base_pb2.Node | None = node(pod)
        self.versions: dict[str, dict[str, str]] = {}

    def ask(
        self,
        type_url: str,
        *subscribe: str,
        unsubscribe: tuple[str, ...] = (),
        known: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
    ) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(
            node=self.node,
            type_url=type_url,
            resource_names_subscribe=subscribe,
            resource_names_unsubscribe=unsubscribe,
            initial_resource_versions=known,
            response_nonce=nonce,
            error_detail=None if error is None else status_pb2.Status(code=3, message=error),
        )
        self.node = None
        self.exchange.receive(request.SerializeToString())

    def hear(self) -> Heard | None:
        data = self.exchange.take()
        if data is None:
            return None
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
        names = [one.name for one in message.resources]
        assert len(set(names)) == len(names), "a name is sent twice"
        held = self.versions.setdefault(message.type_url, {})
        held.update({one.name: one.version for one in message.resources})
        for name in message.removed_resources:
            held.pop(name, None)
        bodies = dict(one.resource.value.decode().split("=") for one in message.resources)
        assert list(bodies) == names
        return Heard(message.type_url, message.nonce, bodies, set(message.removed_resources))

    def ack(self, heard: Heard) -> None:
        self.ask(heard.type_url, nonce=heard.nonce)

    def nack(self, heard: Heard, reason: str) -> None:
        self.ask(heard.type_url, nonce=heard.nonce, error=reason)

    def listen(self) -> list[Heard]:
        """Take and accept everything."""
        heard: list[Heard] = []
        while (one := self.hear()) is not None:
            heard.append(one)
            self.ack(one)
        return heard
