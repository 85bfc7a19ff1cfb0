"""A cluster that is left: its traffic moves to the other, and none of it is lost."""

import asyncio
import json
import time

from isthmus.lab.demo.deploy import complete
from isthmus.lab.demo.steps import pods_of
from tests.e2e.commands import isthmus
from tests.e2e.conftest import Mesh


async def cluster(mesh: Mesh, *words: str) -> str:
    """What an operator types about *east*."""
    done = await asyncio.to_thread(
        isthmus, "cluster", *words, "--kubeconfig", str(mesh.primary.plan.kubeconfig)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_drained_cluster_gives_up_all_of_its_traffic_and_has_it_back_without_a_failed_request(
    mesh: Mesh,
) -> None:
    east = mesh.remote.name
    # The charts grant all that is done for a cluster: nothing is left undone for want of a right.
    rows = json.loads(await cluster(mesh, "list", "-o", "json"))
    assert [row["remarks"] for row in rows] == [[], []]
    before = await mesh.observed.sample(300)
    assert any(who.startswith(f"{east}/") for who in before)
    start = time.monotonic()
    assert "updated" in await cluster(mesh, "drain", east, "--over", "3s")
    await mesh.observed.without(lambda answer: answer.cluster == east, start)
    # Everybody in the other cluster takes part.
    assert set(await mesh.observed.sample(300)) == set(await pods_of(mesh.primary))
    assert "drained since" in await cluster(mesh, "list")
    start = time.monotonic()
    await cluster(mesh, "undrain", east)
    await mesh.observed.first(lambda answer: answer.cluster == east, start)
    await complete(mesh.remote, "echo")
    assert mesh.observed.failures() == []
