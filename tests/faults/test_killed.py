"""The control plane is killed at every step, its clock is wrong: a proxy loses nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from isthmus.lab.faults.kinds import Fault
from tests.faults.stage import Stage, running_stage


def steps(stage: Stage, random: Random) -> list[Callable[[], Awaitable[None]]]:
    """What happens to a mesh, in an order that makes sense."""
    north, south = stage.remotes.values()

    async def rotate() -> None:
        await stage.put_secret("north", north=north.kubeconfig())

    return [
        lambda: north.change(random),
        rotate,
        lambda: stage.unregister(south),
        lambda: stage.register(south),
        lambda: south.suffer(Fault.API_SLOW),
        south.heal,
        lambda: stage.home.change(random),
    ]


async def test_a_control_plane_that_is_killed_at_every_step_takes_up_where_it_was(tmp_path: Path) -> None:
    random = Random(3)
    async with running_stage(tmp_path, "north", "south") as stage:
        for step in steps(stage, random):
            await step()
            await asyncio.sleep(random.choice((0.0, 0.05, 0.3)))
            await stage.kill_pilot()
            await stage.start_pilot()
            await stage.converge()


async def test_a_control_plane_that_is_killed_beside_a_dead_cluster_serves_it_as_last_known(
    tmp_path: Path,
) -> None:
    random = Random(5)
    async with running_stage(tmp_path, "north", "south") as stage:
        north, south = stage.remotes.values()
        await stage.kept("north")
        await north.suffer(Fault.API_HANG)
        await north.change(random)
        await stage.kill_pilot()
        await stage.start_pilot()
        row = await stage.pilot.cluster("north", lambda row: row["state"] == "stale")
        assert "last known" in row["reason"]
        await south.change(random)
        await stage.converge(south)
        await stage.kill_pilot()
        await stage.start_pilot()
        await north.heal()
        await stage.converge()


@pytest.mark.parametrize("ahead", [3600, -3600])
async def test_a_clock_that_is_an_hour_off_changes_nothing(ahead: int, tmp_path: Path) -> None:
    random = Random(ahead)
    through = ("isthmus.lab.faults.clock", str(ahead))
    async with running_stage(tmp_path, "north", pilot={"through": through}) as stage:
        (north,) = stage.remotes.values()
        await north.change(random)
        await stage.converge()
        await stage.put_secret("north", north=north.kubeconfig())
        await stage.rotated(1)
        await north.suffer(Fault.API_500)
        await stage.pilot.cluster("north", lambda row: row["state"] == "stale")
        await north.change(random)
        await north.heal()
        await stage.converge()


@pytest.mark.soak
async def test_watches_that_stall_for_minutes_are_replaced_by_lists(tmp_path: Path) -> None:
    random = Random(13)
    async with running_stage(tmp_path, "north") as stage:
        (north,) = stage.remotes.values()
        await stage.pilot.cluster("north", lambda row: row["state"] == "fresh")
        await asyncio.sleep(70)
        await north.suffer(Fault.WATCH_STALL)
        for _ in range(2):
            await north.change(random)
            await stage.converge(within=280)
