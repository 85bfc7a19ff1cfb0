"""Clusters fail on purpose while a client asks across them: what it is answered, and what it is not.

Each seed is a test's name, and repeats: it draws the faults, and what changes meanwhile.
"""

import asyncio
import time
from random import Random
from typing import Any

import pytest

from isthmus.lab.demo.deploy import LabCluster, complete
from isthmus.lab.demo.steps import pods_of, scale
from isthmus.lab.faults.kinds import HOP_FAULTS, Fault
from isthmus.lab.plan import STATE
from tests.e2e.commands import isthmus, kubectl, pilot_page, pods
from tests.e2e.conftest import Mesh
from tests.e2e.faulty import breaking, broken, healing

SYSTEM = "istio-system"
OF_THE_API = sorted(
    HOP_FAULTS | {Fault.API_STOP, Fault.API_HANG, Fault.API_DROP, Fault.CLOCK_SKEW}, key=lambda one: one.value
)
SOAK = [pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 21)]
RECOVERS_WITHIN = 120.0
"""Seconds: the longest pause between two attempts is 30; the rest is for a machine that is busy."""


async def one_more_pod(mesh: Mesh, cluster: LabCluster) -> None:
    """A new pod there answers soon, and goes again."""
    before, start = await pods_of(cluster), time.monotonic()
    await scale(cluster, len(before) + 1)
    await mesh.observed.first(
        lambda answer: answer.cluster == cluster.name and answer.who not in before,
        start,
        timeout=RECOVERS_WITHIN,
    )
    await scale(cluster, len(before))
    await complete(cluster, "echo")


async def both_answer(mesh: Mesh) -> None:
    answers = await mesh.observed.sample(100)
    assert {who.partition("/")[0] for who in answers} == {mesh.primary.name, mesh.remote.name}


async def row_of(cluster: str) -> dict[str, Any]:
    """What the one control plane says of a cluster, once no other is about to end beside it."""
    async with asyncio.timeout(60):
        while len(await asyncio.to_thread(pods, "west", SYSTEM, "istio=pilot")) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    rows = await asyncio.to_thread(pilot_page, "/debug/clusterz")
    return next(row for row in rows if row["id"] == cluster)


async def fresh_again(cluster: str) -> None:
    async with asyncio.timeout(RECOVERS_WITHIN):
        while (await row_of(cluster))["state"] != "fresh":  # noqa: ASYNC110 - another process's page
            await asyncio.sleep(0.5)


@pytest.mark.parametrize("seed", [0, *SOAK])
async def test_a_remotes_api_server_fails_in_any_way_and_no_request_does(seed: int, mesh: Mesh) -> None:
    random = Random(seed)
    for fault in random.sample(OF_THE_API, 2):
        async with broken(mesh.remote.plan, fault):
            await both_answer(mesh)
            await one_more_pod(mesh, mesh.primary)
            await both_answer(mesh)
        await one_more_pod(mesh, mesh.remote)
        await fresh_again(mesh.remote.name)
        assert mesh.observed.failures() == [], fault


async def test_the_bar_no_request_fails_while_replicas_root_and_remote_api_server_go(mesh: Mesh) -> None:
    """The control plane is replaced, the CA's root is rotated, the remote's API server is dead meanwhile."""
    control = ("--kubeconfig", str(STATE / "west" / "kubeconfig"))
    await breaking(mesh.remote.plan, Fault.API_STOP)
    try:
        await both_answer(mesh)
        rotated = await asyncio.to_thread(isthmus, "ca", "rotate", *control)
        assert rotated.returncode == 0, rotated.stderr
        await replace_control_plane(mesh)
        assert (await row_of("east"))["state"] == "stale"
        await both_answer(mesh)
        await one_more_pod(mesh, mesh.primary)
        await both_answer(mesh)
    finally:
        await healing(mesh.remote.plan)
    await fresh_again("east")
    await one_more_pod(mesh, mesh.remote)
    await both_answer(mesh)
    assert mesh.observed.failures() == []


async def replace_control_plane(mesh: Mesh) -> None:
    """All pods of istio-pilot are other ones, and ready."""
    await asyncio.to_thread(kubectl, "west", "rollout", "restart", "deployment/istio-pilot", "-n", SYSTEM)
    status = ("rollout", "status", "deployment/istio-pilot", "-n", SYSTEM, "--timeout=60s")
    await asyncio.to_thread(kubectl, "west", *status)


@pytest.mark.soak
async def test_in_a_partition_each_side_goes_on_with_what_it_reaches(mesh: Mesh) -> None:
    """Requests across wait for a connection; those within are answered, and it is over when healed."""
    async with broken(mesh.remote.plan, Fault.PARTITION):
        start = time.monotonic() + 10
        await mesh.observed.first(lambda answer: answer.cluster == mesh.primary.name, start)
        assert not [answer for answer in mesh.observed.since(start) if answer.cluster == mesh.remote.name]
        row = await row_of(mesh.remote.name)
        assert (row["state"], row["served"]) == ("fresh", True)
    healed = time.monotonic()
    await mesh.observed.first(lambda answer: answer.cluster == mesh.remote.name, healed, timeout=90)
    await both_answer(mesh)
