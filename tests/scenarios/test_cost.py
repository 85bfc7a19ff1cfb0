"""One endpoint's change costs its service and its subscribers, whatever else the mesh holds.

View, translation and streams are real and wired as the control plane wires them; only sockets are missing.
"""

from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from isthmus.clusters.labels import shared_labels
from isthmus.clusters.parts import Backend, ServicePart, ServicePort, SlicePart, Subset
from isthmus.clusters.store import ClusterStore
from isthmus.clusters.view import JoinedView
from isthmus.config.mesh import MeshConfig
from isthmus.kube.decoding import Ref
from isthmus.model.resources import ENDPOINT
from isthmus.model.service import ClusterId, Kind, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import Endpoint, Health
from isthmus.translate.catalogue import Catalogue
from isthmus.translate.claims import Claims
from isthmus.translate.clusters import ClusterSpec, cluster_specs
from isthmus.translate.families import Assignments, Encoding
from isthmus.xds.hub import Hub
from isthmus.xds.preparing import NotPreparedError
from isthmus.xds.session import Session
from isthmus.xds.shelf import Form
from tests.xds.fakes import FakeWire

CHANGED = ServiceKey("demo", "s0")


@dataclass(frozen=True)
class Cost:
    """Work that one change made."""

    cluster_derivations: int
    mesh_derivations: int
    resources: int
    serialisations: int
    responses: int
    sends: int


class Mesh:
    def __init__(self, *, clusters: int, services: int) -> None:
        self.view = JoinedView({})
        self.stores: list[ClusterStore] = []
        for index in range(clusters):
            store = self.view.new_store(ClusterId(f"c{index}"))
            for number in range(services):
                key = ServiceKey("demo", f"s{number}")
                ports = (ServicePort(80, "http", Protocol.HTTP, 8080),)
                address = f"10.{index}.0.{number % 250}"
                store.put_service(ServicePart(key, Kind.CLUSTER_IP, ports, (address,), shared_labels({})))
                store.put_slice(*self.slice_of(key, f"10.{index}.1.1"))
            self.stores.append(store)
        self.view.hold({store.cluster: store for store in self.stores})
        self.catalogue = Catalogue(self.view, MeshConfig(), home=ClusterId("c0"))
        self.hub = Hub(self.catalogue)
        self._telling = ExitStack()
        self._telling.enter_context(self.view.subscribe(self._tell))

    def _tell(self, changes: Changes) -> None:
        self.hub.publish(self.catalogue.apply(changes))
        self.hub.rescope(self.catalogue.rescoped(changes))

    @staticmethod
    def slice_of(key: ServiceKey, *addresses: str) -> tuple[Ref, SlicePart]:
        backends = tuple(Backend(address, Health.READY, "", "") for address in addresses)
        return Ref(key.namespace, key.name), SlicePart(key, (Subset((("http", 8080),), backends),))

    def connect(self, *services: str) -> Session:
        """A proxy that follows these services' endpoints and has accepted them."""
        exchange = self.hub.connect(Form.WHOLE, FakeWire())
        names = [f"outbound|80||{name}.demo.svc.cluster.local" for name in services]
        request = DiscoveryRequest(type_url=ENDPOINT, resource_names=names)
        request.node.id = "sidecar~10.0.0.1~p.demo~demo.svc.cluster.local"
        try:
            exchange.receive(request.SerializeToString())
        except NotPreparedError:  # Of a larger mesh, what all share is derived by steps first.
            for _ in self.hub.preparing.steps():
                pass
            exchange.receive(request.SerializeToString())
        message = exchange.take()
        assert message is not None
        response = DiscoveryResponse.FromString(message)
        assert len(response.resources) == len(services)
        request.response_nonce = response.nonce
        exchange.receive(request.SerializeToString())
        assert exchange.take() is None
        return exchange

    def _totals(self) -> tuple[int, ...]:
        return (
            self.view.derivations.cluster_endpoints,
            self.view.derivations.endpoints,
            self.catalogue.counters.derivations,
            self.catalogue.counters.serialisations,
            self.hub.responses_built,
            self.hub.counters.sends[ENDPOINT],
        )

    def cost_of_a_change(self, proxies: list[Session]) -> Cost:
        before = self._totals()
        store = self.stores[-1]
        self.view.changed(store, store.put_slice(*self.slice_of(CHANGED, "10.9.1.1", "10.9.1.2")))
        for proxy in proxies:
            while proxy.take() is not None:
                pass
        return Cost(*(after - was for was, after in zip(before, self._totals(), strict=True)))


@pytest.mark.parametrize(("clusters", "services"), [(2, 20), (20, 20), (2, 200)])
def test_a_change_costs_its_service_and_its_subscribers_only(clusters: int, services: int) -> None:
    mesh = Mesh(clusters=clusters, services=services)
    subscribers = [mesh.connect("s0", "s1") for _ in range(10)]
    others = [mesh.connect("s1", "s2") for _ in range(services)]
    assert mesh.cost_of_a_change(subscribers + others) == Cost(
        cluster_derivations=1,
        mesh_derivations=1,
        resources=1,
        serialisations=1,
        responses=1,
        sends=len(subscribers),
    )


def test_a_change_that_nobody_follows_derives_nothing() -> None:
    mesh = Mesh(clusters=2, services=20)
    others = [mesh.connect("s1") for _ in range(5)]
    assert mesh.cost_of_a_change(others) == Cost(0, 0, 0, 0, 0, 0)


def test_a_change_in_a_large_service_encodes_its_own_slice_and_no_other() -> None:
    mesh = Mesh(clusters=2, services=1)
    slices = 20
    for at, store in enumerate(mesh.stores):
        for number in range(slices):
            addresses = [f"10.{50 + at}.{number}.{host}" for host in range(100)]
            _, part = mesh.slice_of(CHANGED, *addresses)
            mesh.view.changed(store, store.put_slice(Ref("demo", f"s0-{number}"), part))
    asked: list[str] = []

    def takes_tls(endpoint: Endpoint) -> bool:
        asked.append(endpoint.address)
        return False

    claims: Claims[ClusterSpec] = Claims()
    service = mesh.view.service(CHANGED)
    assert service is not None
    claims.replace(CHANGED, cluster_specs(service))
    assignments = Assignments(claims, mesh.view, Encoding(takes_tls))
    [name] = assignments.names()
    first = assignments.body(name)
    groups = mesh.view.groups(CHANGED)[80]
    assert len(groups) == 2 * (slices + 1)
    assert asked
    asked.clear()
    store = mesh.stores[1]
    _, part = mesh.slice_of(CHANGED, "10.99.0.1")
    mesh.view.changed(store, store.put_slice(Ref("demo", "s0-7"), part))
    assert b"10.99.0.1" in assignments.body(name)
    assert assignments.body(name) != first
    assert asked == ["10.99.0.1"]
    assert len([one for one in mesh.view.groups(CHANGED)[80] if one not in groups]) == 1
