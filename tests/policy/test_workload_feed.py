"""The workload feed from the joined view to what a check is told of its source."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from grpc import aio

from isthmus.clusters.view import JoinedView
from isthmus.config.mesh import MeshConfig
from isthmus.config.workload_feed import TYPE_URL, FedWorkload, decode, encode, split_uid
from isthmus.kube.decoding import Ref
from isthmus.lib.lifecycle import task_scope
from isthmus.model.identity import Identity, TrustDomain
from isthmus.model.proxy import Proxy
from isthmus.model.resources import Scope
from isthmus.model.view import Changes
from isthmus.model.workload import WorkloadKey
from isthmus.policy.client import Clients
from isthmus.policy.pilot_feed import Dialled, PilotFeed
from isthmus.policy.workloads import WorkloadIndex
from isthmus.translate.catalogue import Catalogue
from isthmus.translate.workload_feed import Served, WorkloadFeed
from isthmus.xds.ads import serving_ads
from isthmus.xds.hub import Hub
from tests.clusters.building import EAST, WEST, pod

ONE = FedWorkload("east", "demo", "echo-1", ("10.2.0.1", "fd00::1"), "echo", "echo", {"app": "echo"})


class CountingIndex(WorkloadIndex):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.then: Callable[[], None] | None = None
        """What is done once something is told."""

    def put(self, name: str, version: str, body: bytes) -> None:
        self.told.append(name)
        if self.then is not None:
            self.then()
            self.then = None
        super().put(name, version, body)


class Pilot:
    """A joined view over two clusters, and the feed served of it."""

    def __init__(self) -> None:
        self.view = JoinedView({})
        self.west, self.east = self.view.new_store(WEST), self.view.new_store(EAST)
        self.view.hold({WEST: self.west, EAST: self.east})
        self.feed = WorkloadFeed(self.view, namespace="istio-system")
        self.catalogue = Catalogue(self.view, MeshConfig())
        self.hub = Hub(self)

    def scopes(self, proxy: Proxy) -> Sequence[Scope]:
        return Served(self.catalogue, self.feed).scopes(proxy)

    def has(self, name: str, address: str, *, own_address: bool = True, note: str = "") -> None:
        """East has this pod from now on."""
        labels = {"app": "echo"} | ({"note": note} if note else {})
        part = replace(pod(name, address, cluster=EAST, labels=labels), own_address=own_address)
        self.view.changed(self.east, self.east.put_pod(part))

    def lacks(self, name: str) -> None:
        self.view.changed(self.east, self.east.drop_pod(Ref("demo", name)))

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncGenerator[int]:
        with self.view.subscribe(lambda changes: self.hub.publish(self.feed.apply(changes))):
            async with serving_ads(f"127.0.0.1:{port}", self.hub) as bound:
                yield bound


@asynccontextmanager
async def following(port: list[int], index: WorkloadIndex) -> AsyncGenerator[PilotFeed]:
    """A feed that dials whatever `port` holds at the time."""

    @asynccontextmanager
    async def dial() -> AsyncGenerator[Dialled]:
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with aio.insecure_channel(f"127.0.0.1:{port[0]}", options=options) as channel:
            yield Dialled(channel)

    node = "policy~10.9.0.1~istio-policy-1.istio-system~istio-system.svc.cluster.local"
    feed = PilotFeed(dial, index, node=node)
    async with task_scope() as tasks:
        tasks.serve(feed.follow(), name="feed")
        yield feed


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - it looks at what others own
            await asyncio.sleep(0.01)


def clusters_at(index: WorkloadIndex, address: str) -> list[str]:
    return [one.cluster for one in index.at(address)]


async def test_a_changed_pod_is_told_alone_and_another_replica_tells_only_what_was_missed() -> None:
    index, first, second = CountingIndex(), Pilot(), Pilot()
    for pilot in (first, second):
        for number in range(1, 6):
            pilot.has(f"echo-{number}", f"10.2.0.{number}")
        pilot.has("node-agent", "192.168.0.1", own_address=False)
        pilot.has("odd", "not an address")
    port: list[int] = []
    async with AsyncExitStack() as following_it:
        async with first.serving() as bound:
            port.append(bound)
            feed = await following_it.enter_async_context(following(port, index))
            await feed.tried.wait()
            assert sorted(index.told) == [f"east//Pod/demo/echo-{number}" for number in range(1, 6)]
            assert (index.at("10.2.0.1")[0].account, index.at("192.168.0.1")) == ("default", ())
            derived = first.feed.counters.derivations
            index.told.clear()
            first.has("echo-1", "10.2.0.77")
            await until(lambda: clusters_at(index, "10.2.0.77") == ["east"])
            assert (index.told, clusters_at(index, "10.2.0.1")) == (["east//Pod/demo/echo-1"], [])
            assert first.feed.counters.derivations == derived + 1
            first.lacks("echo-2")
            await until(lambda: not index.at("10.2.0.2"))
        await until(lambda: feed.error)
        assert clusters_at(index, "10.2.0.3") == ["east"], "the last state stays"
        second.has("echo-1", "10.2.0.77")
        second.lacks("echo-2")
        second.lacks("echo-3")
        second.has("echo-4", "10.2.0.44")
        index.told.clear()
        async with second.serving() as bound:
            port[0] = bound
            await until(lambda: not feed.error)
            assert index.told == ["east//Pod/demo/echo-4"]
            assert (clusters_at(index, "10.2.0.3"), clusters_at(index, "10.2.0.44")) == ([], ["east"])
            await following_it.aclose()
            await until(lambda: not second.hub.clients())
            gc.collect()
            assert not second.feed.apply(Changes(workloads=frozenset({WorkloadKey(EAST, "demo", "echo-1")})))


async def test_a_large_mesh_is_told_by_pages_and_what_is_gone_is_forgotten_with_the_last() -> None:
    index, pilot = CountingIndex(), Pilot()
    for number in range(30_001):  # More than it could tell the versions of, so it asks for everything.
        old = replace(ONE, name=f"old-{number}", addresses=("10.9.9.9",))
        index.put(old.uid, "1", encode(old))
    index.told.clear()
    for number in range(2000):
        pilot.has(f"echo-{number}", f"10.2.{number >> 8}.{number & 255}")
    for number in range(3):
        pilot.has(f"huge-{number}", f"10.3.0.{number}", note="x" * 200_000)
    index.then = lambda: pilot.has("huge-2", "10.4.0.1")
    async with pilot.serving() as bound, following([bound], index) as feed:
        await feed.tried.wait()
        assert len(index.versions) == 2003
        assert clusters_at(index, "10.4.0.1") == ["east"]
        assert not index.at("10.3.0.2"), "what changes between pages is not told as it was"
        assert not index.at("10.9.9.9")
        assert pilot.hub.counters.sends[TYPE_URL] >= 4


async def test_the_cluster_of_a_source_is_its_pods_and_absent_where_two_clusters_claim_the_address() -> None:
    index = WorkloadIndex()
    clients = Clients(TrustDomain("cluster.local"), index)
    index.put(ONE.uid, "1", encode(ONE))
    known = clients.identify("spiffe://cluster.local/ns/demo/sa/echo", "10.2.0.1").workload
    assert known is not None
    assert (known.cluster, known.workload, known.labels) == ("east", "echo", {"app": "echo"})
    assert clients.identify("spiffe://cluster.local/ns/demo/sa/other", "10.2.0.1").workload is None
    west = replace(ONE, cluster="west", namespace="other", addresses=("10.2.0.1",))
    index.put(west.uid, "1", encode(west))
    source = clients.identify("spiffe://cluster.local/ns/demo/sa/echo", "10.2.0.1")
    assert (source.workload, source.identity and source.identity.namespace) == (None, "demo")
    assert clients.identify("spiffe://cluster.local/ns/demo/sa/echo", "fd00::1").workload == known
    index.remove(west.uid)
    assert clients.identify("spiffe://cluster.local/ns/demo/sa/echo", "10.2.0.1").workload == known


def test_only_the_policy_servers_account_in_the_control_planes_namespace_reads_the_feed() -> None:
    pilot = Pilot()
    pilot.has("echo-1", "10.2.0.1")

    def told(namespace: str, account: str, kind: str = "policy") -> list[str]:
        proved = Identity("cluster.local", namespace, account)
        proxy = Proxy("an id", kind, "10.9.0.1", "p", namespace, WEST, {}, proved)
        return [one.name for scope in pilot.scopes(proxy) for one in scope.all(TYPE_URL)]

    account = "istio-policy-service-account"
    assert told("istio-system", account) == ["east//Pod/demo/echo-1"]
    assert told("demo", account) == told("istio-system", "default") == []
    assert told("istio-system", account, kind="sidecar") == []


def test_what_is_no_workload_is_refused_and_what_was_held_stays() -> None:
    assert decode(encode(ONE)) == ONE
    assert split_uid(ONE.uid) == ("east", "demo", "echo-1")
    assert split_uid("east//Service/demo/echo") is None
    index = WorkloadIndex()
    index.put(ONE.uid, "1", encode(ONE))
    for body, fault in ((b"\xff", "no istio.workload"), (b"", "no workload"), (b"\x0a\x05\x1a\x03abc", "IP")):
        with pytest.raises(ValueError, match=fault):
            index.put(ONE.uid, "2", body)
    assert (clusters_at(index, "10.2.0.1"), index.versions[ONE.uid]) == (["east"], "1")
