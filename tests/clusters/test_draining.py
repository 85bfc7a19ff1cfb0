"""Traffic that is shifted away: the share as a function of time, and what proxies are told of it."""

import asyncio

import pytest

from isthmus.clusters.annotations import DRAIN
from isthmus.clusters.draining import WHOLE, Drain, read_drain, write_drain
from isthmus.clusters.health import State
from isthmus.clusters.standing import Standing
from isthmus.model.workload import Endpoint
from tests.clusters.building import ECHO
from tests.clusters.fake_world import World, put_slice
from tests.clusters.running import EAST, HOME, NORTH, Mesh, in_virtual_time, running_mesh, world_of

START = 1.8e9


def wall() -> float:
    return START + asyncio.get_running_loop().time()


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 3.0, 30.0, 3600.0])
def test_the_share_goes_down_in_few_steps_and_each_is_announced(seconds: float):
    drain = Drain(100.0, seconds)
    shares, now = [drain.share(100.0 - 1e-6)], 0.0
    while (due := drain.due(now)) is not None:
        assert due > now
        # Rounding must not leave a step for later, or it would be asked for again at once.
        assert drain.share(due + 1e-6) < shares[-1]
        shares.append(drain.share(due + 1e-6))
        now = due
    assert shares[0] == WHOLE
    assert shares[-1] == drain.share(1e12) == 0
    assert len(shares) - 1 <= min(max(seconds, 1), WHOLE)
    assert now == pytest.approx(100.0 + seconds)


def test_another_pace_changes_nothing_at_the_moment_of_the_change():
    drain = Drain(100.0, 60.0)
    faster = drain.within(10.0, 130.0)
    assert (faster.share(130.0), drain.share(130.0)) == (5, 5)
    assert faster.share(135.0) == 0
    assert drain.within(600.0, 40.0).share(40.0) == WHOLE
    assert Drain(0.0, 0.0).within(60.0, 5.0).share(5.0) == 0


def test_the_annotation_names_each_cluster_of_a_secret_and_refuses_nonsense():
    drain = Drain(1_800_000_000.25, 90.0)
    value = write_drain({}, "east", drain)
    assert value == "east=2027-01-15T08:00:00.250+00:00/90s"
    assert read_drain({DRAIN: value}, "east") == (drain, "")
    assert read_drain({DRAIN: value}, "west") == read_drain({}, "east") == (None, "")
    both = write_drain({DRAIN: value}, "west", Drain(0.0, 1.0))
    assert both is not None
    assert read_drain({DRAIN: both}, "east") == (drain, "")
    assert write_drain({DRAIN: both}, "west", None) == value
    assert write_drain({DRAIN: value}, "east", None) is None
    for wrong in (
        "soon/5s",
        "2027-01-15T08:00:00/5s",
        "2027-01-15T08:00:00Z/5",
        "2027-01-15T08:00:00Z/9999h",
        "",
    ):
        found, flaw = read_drain({DRAIN: f"east={wrong}"}, "east")
        assert found is None
        assert DRAIN in flaw


def annotate(world: World, drain: Drain | None) -> None:
    value = write_drain({}, "east", drain)
    notes = {} if value is None else {DRAIN: value}
    world.put_secret("s", annotations=notes, east=world.kubeconfig("east"), north=world.kubeconfig("north"))


def told(mesh: Mesh) -> dict[str, tuple[int, int]]:
    """Weight and priority by address."""
    endpoints: list[Endpoint] = [*mesh.clusters.view.endpoints(ECHO)[80]]
    return {each.address: (each.weight, each.priority) for each in endpoints}


@in_virtual_time
async def test_a_drained_cluster_gives_up_its_share_step_by_step_and_then_serves_last():
    world = world_of("east", "north")
    annotate(world, None)
    async with running_mesh(world, wall=wall) as one, running_mesh(world, wall=wall) as other:
        await one.clusters.settled()
        await other.clusters.settled()
        usual = {EAST: (1, 0), HOME: (1, 0), NORTH: (1, 0)}
        assert told(one) == usual
        one.told.clear()
        annotate(world, Drain(wall(), 30.0))
        seen: list[int] = []
        await asyncio.sleep(0.1)  # A step of the drain must not fall on a look.
        for _ in range(60):
            await asyncio.sleep(0.6)
            assert told(one) == told(other)
            weights = told(one)
            if weights[EAST][1] == 0 and weights != usual:
                assert weights[HOME] == weights[NORTH] == (WHOLE, 0)
                seen.append(weights[EAST][0])
        assert seen == sorted(seen, reverse=True)
        assert set(seen) == set(range(1, WHOLE))
        assert told(one) == {EAST: (1, 2), HOME: (1, 0), NORTH: (1, 0)}
        assert len(one.told) == WHOLE
        status = one.status("east")
        assert (status.state, status.standing) == (State.FRESH, Standing.FULL)
        assert status.drain.startswith("drained since 2027-01-15T08:00:")
        assert one.status("north").drain == ""
        async with running_mesh(world, wall=wall) as restarted:
            await restarted.clusters.settled()
            await asyncio.sleep(0.1)
            assert told(restarted) == told(one)
        annotate(world, None)
        await asyncio.sleep(0.1)
        assert told(one) == told(other) == usual
        assert len(one.told) == WHOLE + 1


@in_virtual_time
async def test_what_no_other_cluster_has_is_served_on_and_a_bad_annotation_is_named():
    world = world_of("east")
    put_slice(world["home"])
    value = write_drain({}, "east", Drain(START, 1.0))
    assert value is not None
    world.put_secret("s", annotations={DRAIN: value}, east=world.kubeconfig("east"))
    async with running_mesh(world, wall=wall) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(5)
        assert told(mesh) == {EAST: (1, 2)}
        world.put_secret("s", annotations={DRAIN: "east=now"}, east=world.kubeconfig("east"))
        await asyncio.sleep(1)
        assert told(mesh) == {EAST: (1, 0)}
        (remark,) = mesh.status("east").remarks
        assert remark.startswith(f"annotation without effect: {DRAIN}")
