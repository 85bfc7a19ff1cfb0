"""Clients that behave as Istio's own test clients do (pkg/adsc, in both forms of xDS).

What they send is theirs to the letter where a server could trip over it: the whole node with every request,
nonces made up or of another type, names taken out of what they received, EDS and RDS asked for by what
clusters and listeners look like.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.rpc.status_pb2 import Status
from grpc import aio

from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE

HTTP = "envoy.filters.network.http_connection_manager"
TCP = "envoy.filters.network.tcp_proxy"
PASSTHROUGH_CHAIN = "PassthroughFilterChain"
MADE_UP = "2026-08-22 15:00:18.1234 +0000 UTC m=+0.0678"
_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_EDS = Cluster.DiscoveryType.Value("EDS")
_DEADLINE = 20.0


def istio_node(pod: str, namespace: str = "default", address: str = "10.11.0.1") -> Node:
    """Its node: of the metadata only what it always says."""
    node = Node(id=f"sidecar~{address}~{pod}.{namespace}~{namespace}.svc.cluster.local")
    node.metadata["ISTIO_VERSION"] = "65536.65536.65536"
    return node


def terminal(listener: Listener) -> str:
    """Its kind, by the last filter of the last chain, the passthrough one set aside; no chain is an error."""
    chains = list(listener.filter_chains)
    if chains[-1].name == PASSTHROUGH_CHAIN:
        chains.pop()
    return chains[-1].filters[-1].name


@dataclass
class Adsc:
    """In the state of the world. Attributes are what it holds, by name; `updates` what came, in order."""

    call: "aio.StreamStreamCall[bytes, bytes]"
    node: Node
    updates: deque[str] = field(default_factory=deque[str])
    clusters: dict[str, Cluster] = field(default_factory=dict[str, Cluster])
    eds_clusters: dict[str, Cluster] = field(default_factory=dict[str, Cluster])
    endpoints: dict[str, ClusterLoadAssignment] = field(default_factory=dict[str, ClusterLoadAssignment])
    http: dict[str, Listener] = field(default_factory=dict[str, Listener])
    tcp: dict[str, Listener] = field(default_factory=dict[str, Listener])
    routes: dict[str, RouteConfiguration] = field(default_factory=dict[str, RouteConfiguration])
    _last: dict[str, DiscoveryResponse] = field(default_factory=dict[str, DiscoveryResponse])
    _listens: bool = False

    async def begin(self, *types: str) -> None:
        """The first requests: the first has the node, each a nonce that no server gave."""
        for number, type_url in enumerate(types):
            request = DiscoveryRequest(type_url=type_url, response_nonce=MADE_UP)
            if not number:
                request.node.CopyFrom(self.node)
            await self._send(request)

    async def wait(self, *types: str) -> None:
        """Until something of each of these types came, whatever else does."""
        wanted = set(types)
        async with asyncio.timeout(_DEADLINE):
            while wanted:
                if not self.updates:
                    await self._receive()
                wanted.discard(self.updates.popleft())

    async def wait_single(self, wanted: str, rejected: str) -> None:
        """Until something of one type came, and nothing of the other before it."""
        async with asyncio.timeout(_DEADLINE):
            while True:
                if not self.updates:
                    await self._receive()
                found = self.updates.popleft()
                assert found != rejected
                if found == wanted:
                    return

    async def _receive(self) -> None:
        data = await self.call.read()
        assert isinstance(data, bytes), f"the stream ended: {await self.call.code()}"
        response = DiscoveryResponse.FromString(data)
        bodies = [one.value for one in response.resources]
        match response.type_url:
            case t if t == CLUSTER:
                await self._take_clusters(Cluster.FromString(one) for one in bodies)
            case t if t == ENDPOINT:
                found = (ClusterLoadAssignment.FromString(one) for one in bodies)
                self.endpoints = {one.cluster_name: one for one in found}
                if not self._listens:
                    self._listens = True
                    await self._send(DiscoveryRequest(node=self.node, type_url=LISTENER))
            case t if t == LISTENER:
                await self._take_listeners([Listener.FromString(one) for one in bodies])
            case t if t == ROUTE:
                configs = (RouteConfiguration.FromString(one) for one in bodies)
                self.routes = {one.name: one for one in configs}
            case other:
                raise AssertionError(f"nobody asked for {other}")
        self._last[response.type_url] = response
        self.updates.append(response.type_url)
        await self._ask(response.type_url, self._names_of(response.type_url))

    async def _take_clusters(self, clusters: Iterable[Cluster]) -> None:
        self.clusters, self.eds_clusters = {}, {}
        for one in clusters:
            known_type = one.WhichOneof("cluster_discovery_type") == "type"
            (self.clusters if known_type and one.type != _EDS else self.eds_clusters)[one.name] = one
        if self.eds_clusters:
            await self._ask(ENDPOINT, self.eds_clusters)

    async def _take_listeners(self, listeners: Iterable[Listener]) -> None:
        self.http, self.tcp = {}, {}
        for one in listeners:
            kind = terminal(one)
            assert kind in (HTTP, TCP), f"{one.name} ends in {kind}"
            (self.http if kind == HTTP else self.tcp)[one.name] = one
        ports = [str(one.address.socket_address.port_value) for one in self.http.values()]
        if ports:
            await self._ask(ROUTE, ports)

    def _names_of(self, type_url: str) -> Iterable[str]:
        if type_url == ENDPOINT:
            return self.eds_clusters
        return self.routes if type_url == ROUTE else ()

    async def _ask(self, type_url: str, names: Iterable[str]) -> None:
        last = self._last.get(type_url, DiscoveryResponse())
        await self._send(
            DiscoveryRequest(
                node=self.node,
                type_url=type_url,
                version_info=last.version_info,
                response_nonce=last.nonce,
                resource_names=names,
            )
        )

    async def _send(self, request: DiscoveryRequest) -> None:
        await self.call.write(request.SerializeToString())


@dataclass
class DeltaAdsc:
    """In the incremental form. What a cluster or listener refers to is asked for with the nonce of the
    response that had it, of another type though that is. `held` is by type and name.
    """

    call: "aio.StreamStreamCall[bytes, bytes]"
    node: Node
    held: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    removed: list[str] = field(default_factory=list[str])
    refuse: str = ""
    """Why the next response is refused, "" to accept it."""
    _asked: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    async def begin(self, *types: str) -> None:
        """Watch everything of these types."""
        for number, type_url in enumerate(types):
            await self._send(self.node if not number else Node(id=self.node.id), type_url)

    async def until(self, type_url: str, *names: str) -> None:
        """Until these names of a type are held."""
        async with asyncio.timeout(_DEADLINE):
            while not self.held.get(type_url, {}).keys() >= set(names):
                await self.receive()

    async def receive(self) -> DeltaDiscoveryResponse:
        """Take one response, answer it, and ask for what it refers to."""
        data = await self.call.read()
        assert isinstance(data, bytes), f"the stream ended: {await self.call.code()}"
        response = DeltaDiscoveryResponse.FromString(data)
        type_url, own = response.type_url, Node(id=self.node.id)
        if self.refuse:
            refused, self.refuse = self.refuse, ""
            await self._send(own, type_url, response.nonce, error=Status(message=refused))
            return response
        held = self.held.setdefault(type_url, {})
        referred: dict[str, set[str]] = {}
        for one in response.resources:
            assert one.resource.type_url == type_url
            held[one.name] = one.resource.value
            for kind, name in references(type_url, one.resource.value):
                referred.setdefault(kind, set()).add(name)
        for name in response.removed_resources:
            held.pop(name, None)
            self.removed.append(name)
        await self._send(own, type_url, response.nonce)
        for kind, names in referred.items():
            if fresh := names - self._asked.setdefault(kind, set()):
                self._asked[kind] |= fresh
                await self._send(own, kind, response.nonce, subscribe=fresh)
        return response

    async def _send(
        self,
        node: Node,
        type_url: str,
        nonce: str = "",
        *,
        subscribe: Iterable[str] = (),
        error: Status | None = None,
    ) -> None:
        request = DeltaDiscoveryRequest(
            node=node,
            type_url=type_url,
            response_nonce=nonce,
            resource_names_subscribe=sorted(subscribe),
            error_detail=error,
        )
        await self.call.write(request.SerializeToString())


def references(type_url: str, body: bytes) -> Iterable[tuple[str, str]]:
    """What a resource refers to: the endpoints of an EDS cluster, the routes of HTTP filters."""
    if type_url == CLUSTER:
        cluster = Cluster.FromString(body)
        if cluster.type == _EDS:
            yield ENDPOINT, cluster.eds_cluster_config.service_name or cluster.name
    elif type_url == LISTENER:
        for chain in Listener.FromString(body).filter_chains:
            for each in chain.filters:
                if each.name == HTTP:
                    manager = HttpConnectionManager.FromString(each.typed_config.value)
                    if manager.HasField("rds"):
                        yield ROUTE, manager.rds.route_config_name


@asynccontextmanager
async def whole_client(port: int, pod: str = "test-1") -> AsyncGenerator[Adsc]:
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = _method(channel, "StreamAggregatedResources")()
        yield Adsc(call, istio_node(pod))
        call.cancel()


@asynccontextmanager
async def delta_client(port: int, pod: str = "test-2") -> AsyncGenerator[DeltaAdsc]:
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = _method(channel, "DeltaAggregatedResources")()
        yield DeltaAdsc(call, istio_node(pod))
        call.cancel()


def _method(channel: aio.Channel, name: str) -> "aio.StreamStreamMultiCallable[bytes, bytes]":
    return channel.stream_stream(_SERVICE + name)


Held = Mapping[str, Mapping[str, bytes]]
