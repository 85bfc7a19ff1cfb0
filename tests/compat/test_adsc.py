"""Istio's test clients against this control plane: what they ask in, and what they make of the answers."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from isthmus.config.mesh import MeshConfig
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus.model.service import Kind, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.translate.catalogue import Catalogue
from isthmus.xds.ads import serving_ads
from isthmus.xds.hub import Hub
from tests.compat.adsc import delta_client, whole_client
from tests.translate.fake_view import EAST, WEST, FakeView, endpoint, service

ECHO, DB = ServiceKey("demo", "echo"), ServiceKey("demo", "db")
ECHO_CLUSTER = "outbound|80||echo.demo.svc.cluster.local"
GRPC_CLUSTER = "outbound|7070||echo.demo.svc.cluster.local"
DB_CLUSTER = "outbound|5432||db.demo.svc.cluster.local"
WEB_CLUSTER = "outbound|8080||web.demo.svc.cluster.local"


@dataclass
class Stage:
    port: int
    hub: Hub
    view: FakeView
    catalogue: Catalogue

    def change(self, changes: Changes) -> None:
        self.hub.publish(self.catalogue.apply(changes))


@asynccontextmanager
async def stage() -> AsyncGenerator[Stage]:
    """HTTP, gRPC, TCP, TLS and a sniffed port, a headless and an external service."""
    view = FakeView()
    ports = ((80, Protocol.HTTP), (7070, Protocol.GRPC), (443, Protocol.HTTPS))
    view.put(
        service("echo", *ports, west="10.1.0.1"), endpoint("10.0.0.1"), endpoint("10.0.1.1", cluster=EAST)
    )
    view.put(service("db", (5432, Protocol.TCP), west="10.1.0.2"), endpoint("10.0.0.2", port=5432))
    view.put(service("web", (8080, Protocol.SNIFFED), west="10.1.0.3"), endpoint("10.0.0.3"))
    view.put(service("peers", (9000, Protocol.TCP), kind=Kind.HEADLESS), endpoint("10.0.0.4", port=9000))
    external = service("ext", (80, Protocol.HTTP), kind=Kind.EXTERNAL_NAME, external_name="example.org")
    view.put(external)
    catalogue = Catalogue(view, MeshConfig(), home=WEST)
    hub = Hub(catalogue)
    async with serving_ads("127.0.0.1:0", hub) as port:
        yield Stage(port, hub, view, catalogue)


def addresses(assignment: ClusterLoadAssignment) -> list[str]:
    return [
        member.endpoint.address.socket_address.address
        for locality in assignment.endpoints
        for member in locality.lb_endpoints
    ]


async def test_the_whole_form_is_walked_from_clusters_to_routes_and_followed() -> None:
    async with stage() as mesh, whole_client(mesh.port) as client:
        await client.begin(CLUSTER)
        await client.wait(CLUSTER, ENDPOINT, LISTENER, ROUTE)
        assert client.eds_clusters.keys() >= {ECHO_CLUSTER, GRPC_CLUSTER, DB_CLUSTER, WEB_CLUSTER}
        assert client.clusters.keys() >= {"PassthroughCluster", "BlackHoleCluster"}
        assert client.endpoints.keys() == {name for name in client.eds_clusters if "||ext." not in name}, (
            "EDS was asked for by the clusters that use it"
        )
        assert addresses(client.endpoints[ECHO_CLUSTER]) == ["10.0.0.1", "10.0.1.1"]
        assert client.http.keys() >= {"0.0.0.0_80", "0.0.0.0_7070"}
        assert client.tcp.keys() >= {"10.1.0.2_5432", "10.1.0.1_443", "10.0.0.4_9000", "virtualOutbound"}
        assert client.routes.keys() >= {"80", "7070", "8080"}

        mesh.view.backing[ECHO][80] = [endpoint("10.0.0.9")]
        mesh.change(Changes(endpoints=frozenset({ECHO})))
        await client.wait_single(ENDPOINT, CLUSTER)
        assert addresses(client.endpoints[ECHO_CLUSTER]) == ["10.0.0.9"]

        mesh.view.put(service("new", (5000, Protocol.TCP), west="10.1.0.9"), endpoint("10.0.0.5"))
        mesh.change(Changes(services=frozenset({ServiceKey("demo", "new")})))
        await client.wait(CLUSTER, LISTENER)
        while "outbound|5000||new.demo.svc.cluster.local" not in client.endpoints:
            await client.wait(ENDPOINT)
        assert not any(one.nack for each in mesh.hub.clients() for one in each.types)


async def test_what_is_asked_twice_without_a_nonce_is_answered_twice() -> None:
    """Clusters and listeners at once, then listeners again when the endpoints are there."""
    async with stage() as mesh, whole_client(mesh.port) as client:
        await client.begin(CLUSTER, LISTENER)
        await client.wait(LISTENER)
        before = set(client.http)
        await client.wait(LISTENER)
        assert set(client.http) == before


async def test_the_delta_form_takes_names_with_the_nonce_of_another_type() -> None:
    async with stage() as mesh, delta_client(mesh.port) as client:
        await client.begin(CLUSTER, LISTENER)
        await client.until(ENDPOINT, ECHO_CLUSTER, GRPC_CLUSTER, DB_CLUSTER, WEB_CLUSTER)
        await client.until(ROUTE, "80", "7070", "web.demo.svc.cluster.local:8080")
        assert {"virtualOutbound", "virtualInbound"} <= client.held[LISTENER].keys()
        assert mesh.hub.counters.violations == 0

        mesh.view.backing[DB][5432] = [endpoint("10.0.0.8", port=5432)]
        mesh.change(Changes(endpoints=frozenset({DB})))
        response = await client.receive()
        assert (response.type_url, [one.name for one in response.resources]) == (ENDPOINT, [DB_CLUSTER])
        assert addresses(ClusterLoadAssignment.FromString(client.held[ENDPOINT][DB_CLUSTER])) == ["10.0.0.8"]

        client.refuse = "not this one"
        mesh.view.backing[DB][5432] = [endpoint("10.0.0.7", port=5432)]
        mesh.change(Changes(endpoints=frozenset({DB})))
        await client.receive()
        mesh.view.backing[DB][5432] = [endpoint("10.0.0.6", port=5432)]
        mesh.change(Changes(endpoints=frozenset({DB})))
        await client.receive()
        assert addresses(ClusterLoadAssignment.FromString(client.held[ENDPOINT][DB_CLUSTER])) == ["10.0.0.6"]

        del mesh.view.known[DB], mesh.view.backing[DB]
        mesh.change(Changes(services=frozenset({DB})))
        while DB_CLUSTER in client.held[CLUSTER]:
            await client.receive()
        assert "10.1.0.2_5432" in client.removed
