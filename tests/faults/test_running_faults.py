"""Whatever clusters suffer, and however often the control plane dies meanwhile, a proxy holds what is true.

Each seed breaks four of five remotes in four ways at once, changes all clusters meanwhile, kills the control
plane or not, and heals in any order. A failing seed is in the test's name and repeats.
"""

import asyncio
from pathlib import Path
from random import Random

import pytest

from isthmus.lab.faults.kinds import HOP_FAULTS, Fault
from tests.faults.stage import Member, Stage, running_stage
from tests.scenarios.mesh import eventually

NAMES = ("north", "south", "up", "down", "beyond")
KINDS = sorted(HOP_FAULTS | {Fault.API_HANG, Fault.API_STOP}, key=lambda fault: fault.value)
INFORMED = {Fault.API_SLOW, Fault.API_410}
"""Faults in spite of which changes come through."""
SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(4, 40))]
SEEN = {
    Fault.API_STOP: ({"stale"}, "Connection refused"),
    Fault.API_401: ({"unauthorised"}, "401"),
    Fault.API_403: ({"unauthorised"}, "403"),
    Fault.API_429: ({"stale"}, "429"),
    Fault.API_500: ({"stale"}, "500"),
    Fault.API_HTML: ({"stale"}, "no Kubernetes list"),
}
"""What an operator is shown within seconds, and words of its reason."""
SYNC = "istiod_remote_cluster_sync_status"


def faults_of(seed: int) -> list[Fault]:
    """Four kinds; four seeds in a row have all of them."""
    return [KINDS[(seed * 4 + index) % len(KINDS)] for index in range(4)]


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_proxy_holds_what_is_true_during_and_after_any_faults(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    async with running_stage(tmp_path, *NAMES) as stage:
        for name in NAMES:
            await stage.kept(name)
        names = random.sample(NAMES, 5)
        broken = [stage.remotes[name] for name in names[:4]]
        whole = [stage.home, stage.remotes[names[4]]]
        for member, fault in zip(broken, faults_of(seed), strict=True):
            await member.suffer(fault)
        for member in random.sample(stage.members, len(stage.members)):
            await member.change(random)
            await asyncio.sleep(random.choice((0.0, 0.2)))
        informed = [each for each in broken if each.fault in INFORMED]
        await stage.converge(*whole, *informed)
        await told(stage, broken)
        if random.random() < 0.5:
            await stage.kill_pilot()
            await whole[1].change(random)
            await stage.start_pilot()
            await stage.converge(*whole)
        for member in random.sample(broken, 4):
            await member.heal()
            await asyncio.sleep(random.choice((0.0, 0.5)))
            await random.choice(stage.members).change(random)
        await stage.converge()
        for member in stage.members:
            await stage.pilot.cluster(member.name, lambda row: row["state"] == "fresh")
        stage.check()


async def told(stage: Stage, broken: list[Member]) -> None:
    """The operator is told what is wrong with each, and with no other: by page, metrics and Events."""
    for member in broken:
        states, words = SEEN.get(member.fault or Fault.PARTITION, (set[str](), ""))
        if states:
            row = await stage.pilot.cluster(
                member.name, lambda row, s=states, w=words: row["state"] in s and w in row["reason"]
            )
            assert await stage.pilot.measures(SYNC, cluster=member.name, status=row["state"]) == 1
            assert await stage.pilot.measures(SYNC, cluster=member.name, status="synced") == 0
            await stage.complained(member.name, words)
    rows = {row["id"]: row for row in await stage.pilot.page("/debug/clusterz")}
    for member in stage.members:
        if member.fault is None:
            assert rows[member.name]["state"] == "fresh"
            wanted = None if member is stage.home else 1
            assert await stage.pilot.measures(SYNC, cluster=member.name, status="synced") == wanted


async def test_a_cluster_restored_from_an_older_backup_is_what_it_says_it_is(tmp_path: Path) -> None:
    random = Random(1)
    async with running_stage(tmp_path, "north", "south") as stage:
        north = stage.remotes["north"]
        backup, then = await north.keep_backup(), north.truth
        await north.change(random)
        await stage.converge()
        north.truth = then
        north.possible.add(then)
        await north.restore(backup)
        await stage.converge()
        await north.change(random)
        await stage.converge()
        await eventually(lambda: stage.follower.held == stage.truth)
