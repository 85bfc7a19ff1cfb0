"""As whom a proxy is served, whatever it says."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from isthmus.ca.admission import admitting
from isthmus.ca.errors import NotAdmitted, PodUnknown
from isthmus.model.identity import Identity
from isthmus.model.proxy import Proxy
from isthmus.model.service import ClusterId, Network
from isthmus.model.view import Changes
from isthmus.model.workload import Locality, Workload, WorkloadKey
from tests.support.virtual_time import run_in_virtual_time

WEST, EAST = ClusterId("west"), ClusterId("east")
BY_CERTIFICATE = Identity("cluster.local", "demo", "echo")
BY_TOKEN = replace(BY_CERTIFICATE, cluster=WEST, pod="echo-1")


def pod(cluster: ClusterId = WEST, name: str = "echo-1", account: str = "echo") -> Workload:
    key = WorkloadKey(cluster, "demo", name)
    return Workload(key, ("10.1.0.7",), {"app": "echo"}, {}, account, Network(""), Locality())


def claiming(
    pod: str = "echo-1",
    namespace: str = "demo",
    cluster: str = "west",
    address: str = "10.1.0.7",
    **metadata: str,
) -> Proxy:
    node_id = f"sidecar~{address}~{pod}.{namespace}~{namespace}.svc.cluster.local"
    return Proxy(node_id, "sidecar", address, pod, namespace, ClusterId(cluster), metadata)


class View:
    """The joined view, as far as this needs it."""

    def __init__(self, *pods: Workload) -> None:
        self.pods = {one.key: one for one in pods}
        self._listeners: list[Callable[[Changes], None]] = []

    def workload(self, key: WorkloadKey) -> Workload | None:
        return self.pods.get(key)

    @contextmanager
    def subscribe(self, listener: Callable[[Changes], None]) -> Generator[None]:
        self._listeners.append(listener)
        yield
        self._listeners.remove(listener)

    def add(self, one: Workload) -> None:
        self.pods[one.key] = one
        for listener in self._listeners:
            listener(Changes(workloads=frozenset({one.key})))

    def remove(self, one: Workload) -> None:
        del self.pods[one.key]
        for listener in self._listeners:
            listener(Changes(workloads=frozenset({one.key})))


async def judged(view: View, claimed: Proxy, identity: Identity) -> Proxy:
    with admitting(view, (WEST, EAST)) as admission:
        return await admission.admit(claimed, identity)


@pytest.mark.parametrize("identity", [BY_TOKEN, BY_CERTIFICATE])
async def test_a_proxy_is_who_its_pod_is_whatever_address_it_names(identity: Identity) -> None:
    proxy = await judged(View(pod()), claiming(address="10.9.9.9"), identity)
    assert (proxy.address, proxy.pod, proxy.namespace, proxy.cluster) == ("10.1.0.7", "echo-1", "demo", WEST)
    assert proxy.identity == BY_TOKEN


@pytest.mark.parametrize(
    ("claimed", "identity", "words"),
    [
        (claiming(namespace="bank"), BY_TOKEN, ["ns/bank", "ns/demo/sa/echo"]),
        (claiming(NAMESPACE="bank"), BY_CERTIFICATE, ["ns/bank", "ns/demo/sa/echo"]),
        (claiming(SERVICE_ACCOUNT="teller"), BY_TOKEN, ["sa/teller", "sa/echo"]),
        (claiming(cluster="east"), BY_TOKEN, ["cluster east", "in cluster west"]),
        (claiming(pod="other-1"), BY_TOKEN, ["pod other-1", "pod echo-1"]),
        (claiming(pod="other-1"), BY_CERTIFICATE, ["which runs as ns/demo/sa/other", "sa/echo"]),
        (claiming(cluster="east"), BY_CERTIFICATE, ["which runs as ns/demo/sa/other", "sa/echo"]),
    ],
)
async def test_a_contradiction_is_refused_and_logged_once_with_both_identities(
    claimed: Proxy, identity: Identity, words: list[str]
) -> None:
    view = View(pod(), pod(name="other-1", account="other"), pod(EAST, account="other"))
    with capture_logs() as logs, pytest.raises(NotAdmitted) as caught:
        await judged(view, claimed, identity)
    (entry,) = logs
    assert (entry["event"], entry["proved"], entry["reason"]) == (
        "proxy refused",
        "spiffe://cluster.local/ns/demo/sa/echo",
        caught.value.reason,
    )
    for word in words:
        assert word in caught.value.reason


def test_a_pod_that_is_known_a_moment_later_is_waited_for() -> None:
    async def scene() -> None:
        view = View()
        with admitting(view, (WEST, EAST)) as admission:
            many = [asyncio.ensure_future(admission.admit(claiming(), BY_TOKEN)) for _ in range(3)]
            await asyncio.sleep(2)
            view.add(pod(name="echo-2"))
            await asyncio.sleep(2)
            assert not any(one.done() for one in many)
            view.add(pod())
            assert [one.address for one in await asyncio.gather(*many)] == ["10.1.0.7"] * 3

    run_in_virtual_time(scene())


def test_a_pod_that_never_comes_is_not_waited_for_for_ever() -> None:
    async def scene() -> None:
        for identity in (BY_TOKEN, BY_CERTIFICATE):
            with capture_logs() as logs, pytest.raises(PodUnknown, match="cluster west shows no pod echo-1"):
                await judged(View(pod(EAST)), claiming(), identity)
            assert [entry["event"] for entry in logs] == ["proxy put off"]

    run_in_virtual_time(scene())


async def test_a_cluster_that_nothing_proves_counts_where_such_a_pod_runs_there() -> None:
    view = View(pod(), pod(EAST))
    assert (await judged(view, claiming(cluster="east"), BY_CERTIFICATE)).cluster == EAST
    assert (await judged(view, claiming(cluster=""), replace(BY_TOKEN, cluster=EAST))).cluster == EAST


async def test_the_pod_of_a_proxy_that_names_no_cluster_is_looked_for_in_all_of_them() -> None:
    unnamed = claiming(cluster="")
    assert (await judged(View(pod(EAST)), unnamed, BY_CERTIFICATE)).cluster == EAST
    others = View(pod(account="other"), pod(EAST))
    assert (await judged(others, unnamed, BY_CERTIFICATE)).cluster == EAST
    both = View(replace(pod(), addresses=("10.1.0.8",)), pod(EAST))
    assert (await judged(both, unnamed, BY_CERTIFICATE)).cluster == EAST


def test_a_proxy_that_may_be_either_of_two_pods_is_neither() -> None:
    async def scene() -> None:
        with pytest.raises(PodUnknown, match="no cluster shows a pod echo-1"):
            await judged(View(pod(), pod(EAST)), claiming(cluster="", address="10.9.9.9"), BY_CERTIFICATE)

    run_in_virtual_time(scene())


async def test_the_cluster_of_a_pod_is_the_one_that_shows_it_and_of_several_the_one_at_its_address() -> None:
    there = replace(pod(EAST, "twin"), addresses=("10.2.0.7",))
    view = View(pod(EAST), pod(WEST, "twin"), there)
    with admitting(view, (WEST, EAST), patience=0.05) as admission:
        assert await admission.cluster_of("demo", "echo-1", "192.0.2.1") == EAST
        assert await admission.cluster_of("demo", "twin", "10.2.0.7") == EAST
        assert await admission.cluster_of("demo", "twin", "192.0.2.1") is None
        assert await admission.cluster_of("demo", "unknown", "10.2.0.7") is None


async def test_the_cluster_of_a_pod_is_waited_for() -> None:
    view = View()
    with admitting(view, (WEST, EAST), patience=30.0) as admission:
        asked = asyncio.ensure_future(admission.cluster_of("demo", "echo-1", "10.1.0.7"))
        await asyncio.sleep(0)
        view.add(pod(EAST))
        assert await asked == EAST
