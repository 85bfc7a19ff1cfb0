"""A stream lasts no longer than what its proxy was admitted by."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from isthmus.ca.tenure import MOST_GRACE, Tenures, Why, holding
from isthmus.model.proxy import Proxy
from isthmus.model.service import ClusterId
from isthmus.model.workload import Workload
from tests.ca.test_admission import BY_TOKEN, EAST, WEST, View, claiming, pod
from tests.support.virtual_time import run_in_virtual_time

DAY = 86_400.0


def admitted(name: str = "echo-1", cluster: ClusterId = WEST, expires: float = float("inf")) -> Proxy:
    return replace(claiming(name, cluster=cluster), identity=replace(BY_TOKEN, expires=expires))


class Stage:
    """Tenures over a view, and what their streams were told, by node id."""

    def __init__(self, tenures: Tenures, clusters: set[ClusterId]) -> None:
        self.tenures = tenures
        self.clusters = clusters
        self.told: list[tuple[str, str]] = []

    def begin(self, proxy: Proxy) -> None:
        self.tenures.begin(proxy, lambda reason: self.told.append((proxy.node_id, reason)))


@contextmanager
def staged(view: View) -> Generator[Stage]:
    clusters = {WEST, EAST}
    with holding(view, clusters, clock=lambda: asyncio.get_running_loop().time()) as tenures:
        yield Stage(tenures, clusters)


async def test_the_streams_of_a_pod_end_as_it_goes_and_those_of_a_cluster_as_it_leaves() -> None:
    view = View(pod(), pod(name="echo-2"), pod(EAST))
    with staged(view) as stage, capture_logs() as logs:
        here, other, there = admitted(), admitted("echo-2"), admitted(cluster=EAST)
        for proxy in (here, here, other, there):
            stage.begin(proxy)
        view.add(pod())
        assert stage.told == [], "a Pod whose labels change is the same Pod"
        view.remove(pod())
        assert stage.told == [(here.node_id, Why.POD_GONE.value)] * 2
        stage.clusters.remove(EAST)
        view.remove(pod(EAST))
        assert stage.told[2:] == [(there.node_id, Why.CLUSTER_GONE.value)]
        assert [(entry["reason"], entry["proxies"]) for entry in logs] == [
            (Why.POD_GONE.value, 2),
            (Why.CLUSTER_GONE.value, 1),
        ]
        assert stage.tenures.ended == {
            Why.POD_GONE: 2,
            Why.CLUSTER_GONE: 1,
            Why.POD_REPLACED: 0,
            Why.EXPIRED: 0,
        }


@pytest.mark.parametrize(
    "successor", [replace(pod(), addresses=("10.1.0.8",)), pod(account="other")], ids=["address", "account"]
)
async def test_a_pod_that_took_the_place_of_the_one_that_proved_itself_is_not_served_on_its_stream(
    successor: Workload,
) -> None:
    view = View(pod())
    with staged(view) as stage:
        proxy = replace(admitted(), address="10.1.0.7")
        stage.begin(proxy)
        view.add(successor)
        assert stage.told == [(proxy.node_id, Why.POD_REPLACED.value)]


async def test_a_pod_that_gets_its_address_late_stays_who_it_was() -> None:
    view = View(replace(pod(), addresses=()))
    with staged(view) as stage:
        stage.begin(replace(admitted(), address=""))
        view.add(pod())
        assert stage.told == []


def test_streams_end_within_the_grace_after_their_proofs_and_not_all_at_once() -> None:
    async def scene() -> None:
        view = View(*(pod(name=f"echo-{number}") for number in range(200)))
        with staged(view) as stage:
            for number in range(200):
                stage.begin(admitted(f"echo-{number}", expires=100 * DAY))
            stage.begin(admitted("echo-1"))
            await asyncio.sleep(100 * DAY - 1)
            assert stage.told == []
            ended: list[int] = []
            for _ in range(8):
                await asyncio.sleep(MOST_GRACE / 6)
                ended.append(len(stage.told))
            assert ended[-1] == 200
            assert 5 < ended[0] < 100, "they come back spread over the grace"
            assert {reason for _, reason in stage.told} == {Why.EXPIRED.value}

    run_in_virtual_time(scene())


def test_a_short_proof_has_a_short_grace_and_one_that_is_over_none() -> None:
    async def scene() -> None:
        with staged(View(pod())) as stage:
            stage.begin(admitted(expires=10.0))
            await asyncio.sleep(11.001)
            assert len(stage.told) == 1
            stage.begin(admitted(expires=5.0))
            await asyncio.sleep(0.001)
            assert len(stage.told) == 2

    run_in_virtual_time(scene())


def test_nobody_ends_a_stream_that_is_over() -> None:
    async def scene() -> None:
        view = View(pod())
        with staged(view) as stage:
            release = stage.tenures.begin(admitted(expires=10.0), lambda reason: pytest.fail(reason))
            release()
            view.remove(pod())
            await asyncio.sleep(DAY)
            release()

    run_in_virtual_time(scene())
