"""A mesh of thousands of services is derived for its first proxies while everybody else is served.

View, translation and ADS are real; only sockets are missing. What is counted are turns of the loop, not time.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from isthmus.clusters.labels import shared_labels
from isthmus.clusters.parts import Backend, ServicePart, ServicePort, SlicePart, Subset
from isthmus.clusters.view import JoinedView
from isthmus.config.mesh import MeshConfig
from isthmus.kube.decoding import Ref
from isthmus.model.proxy import Proxy
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus.model.service import ClusterId, Kind, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import Health
from isthmus.translate.catalogue import Catalogue
from isthmus.xds.ads import ads_handlers, running_ads
from isthmus.xds.grpc_status import Status
from isthmus.xds.h2_call import End, Service
from isthmus.xds.hub import Hub

SERVICES, ENDPOINTS = 3000, 5
HOME = ClusterId("home")
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"


class Call:
    """As much of a `h2_call.Call` as ADS uses."""

    peer, identity = "test", None

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.ended: list[Status] = []

    def wake(self) -> None:
        self.woken.set()

    def forward(self, receive: Callable[[bytes], None], take: Callable[[], bytes | None]) -> None:
        """The test goes by the service, which knows the way itself."""

    def finish(self, status: Status, reason: str = "") -> None:
        self.ended.append(status)


class Mesh:
    def __init__(self) -> None:
        self.view = JoinedView({})
        self.store = self.view.new_store(HOME)
        for number in range(SERVICES):
            key = ServiceKey("demo", f"s{number}")
            ports = (
                ServicePort(80, "http", Protocol.HTTP, 8080),
                ServicePort(9000, "tcp", Protocol.TCP, 9000),
            )
            address = f"10.96.{number >> 8}.{number & 255}"
            self.store.put_service(ServicePart(key, Kind.CLUSTER_IP, ports, (address,), shared_labels({})))
            addresses = [f"10.{each}.{number >> 8}.{number & 255}" for each in range(ENDPOINTS)]
            self.store.put_slice(*slice_of(key, *addresses))
        self.view.hold({HOME: self.store})
        self.catalogue = Catalogue(self.view, MeshConfig(), home=HOME)
        self.hub = Hub(self.catalogue)

    def serve(self, call: Call) -> Service:
        return ads_handlers(self.hub)[ADS](cast("Any", call))

    def tell(self, changes: Changes) -> None:
        self.hub.publish(self.catalogue.apply(changes))


def slice_of(key: ServiceKey, *addresses: str) -> tuple[Ref, SlicePart]:
    backends = tuple(Backend(address, Health.READY) for address in addresses)
    subset = Subset((("http", 8080), ("tcp", 9000)), backends)
    return Ref(key.namespace, key.name), SlicePart(key, (subset,))


def request(type_url: str, *names: str, cluster: str = HOME, nonce: str = "") -> bytes:
    message = DiscoveryRequest(type_url=type_url, resource_names=names, response_nonce=nonce)
    message.node.id = f"sidecar~10.0.0.1~p.{cluster}~demo.svc.cluster.local"
    message.node.metadata["CLUSTER_ID"] = cluster
    return message.SerializeToString()


def likely(cluster: str) -> Proxy:
    return Proxy("", "sidecar", "", "", cluster, ClusterId(cluster), {})


def heard(stream: Service) -> DiscoveryResponse:
    data = stream.take()
    assert data is not None
    return DiscoveryResponse.FromString(data)


class Heart:
    """Beats once a turn of the loop, and notes how much was derived since the last beat."""

    def __init__(self, mesh: Mesh) -> None:
        self._counters = mesh.catalogue.counters
        self.beats: list[int] = []

    async def beat(self) -> None:
        before = self._counters.serialisations
        while True:
            await asyncio.sleep(0)
            now = self._counters.serialisations
            if now != before:
                self.beats.append(now - before)
            before = now


async def test_nobody_waits_for_the_first_proxy_of_a_large_mesh() -> None:
    mesh = Mesh()
    changed, heart = ServiceKey("demo", "s1"), Heart(mesh)
    name = "outbound|80||s1.demo.svc.cluster.local"
    async with running_ads(mesh.hub), asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(heart.beat())
        first = Call()
        stream = mesh.serve(first)
        stream.receive(request(CLUSTER))
        stream.receive(request(ENDPOINT, name))
        assert stream.take() is None, "nothing is derived at once"
        await first.woken.wait()
        clusters = heard(stream)
        assert len(clusters.resources) > 2 * SERVICES
        assignments = heard(stream)
        assert assignments.type_url == ENDPOINT, "what was asked meanwhile is answered too"
        for type_url in (LISTENER, ROUTE):
            names = ["80"] if type_url == ROUTE else []
            stream.receive(request(type_url, *names))
            answer = heard(stream)
            assert len(answer.resources) == (1 if names else SERVICES + 3)
        for answer in (clusters, assignments):
            names = [name] if answer is assignments else []
            stream.receive(request(answer.type_url, *names, nonce=answer.nonce))
        await asyncio.sleep(0)
        derived = sum(heart.beats)
        assert derived > 4 * SERVICES
        assert max(heart.beats) < derived / 3, "others had their turn in between"

        # A proxy of another cluster sees other listeners; the first has its change before they are derived.
        heart.beats.clear()
        second = Call()
        other = mesh.serve(second)
        other.receive(request(LISTENER, cluster="elsewhere"))
        assert other.take() is None
        await asyncio.sleep(0)
        with mesh.view.subscribe(mesh.tell):
            mesh.view.changed(mesh.store, mesh.store.put_slice(*slice_of(changed, "10.9.9.9")))
        told = heard(stream)
        assert b"10.9.9.9" in told.resources[0].value
        assert not second.woken.is_set()
        await second.woken.wait()
        listeners = heard(other)
        assert {one.type_url for one in listeners.resources} == {LISTENER}

        # What was foreseen is there when the first proxy comes, and when it has gone.
        assert list(mesh.hub.foresee([likely("foreseen")]))
        for _ in range(2):
            third = mesh.serve(Call())
            third.receive(request(LISTENER, cluster="foreseen"))
            assert heard(third).type_url == LISTENER
            third.closed(End.GONE)
        beating.cancel()
    assert first.ended == second.ended == []
