"""Clusters fail on purpose while a client asks across them: what it is answered, and what it is not.

Each seed is a test's name, and repeats: it draws the faults, and what changes meanwhile.
"""

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from isthmus.ca.administration import TrustedRoot
from isthmus.ca.rotation import Phase
from isthmus.inject.sources import settings_in_cluster
from isthmus.kube.client import running_client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import NAMESPACE, SECRET
from isthmus.kube.secret_kubeconfig import access_from_secret
from isthmus.lab.apiserver.tokens import TokenSigner
from isthmus.lab.apply import apply, kind_named
from isthmus.lab.demo.deploy import (
    LabCluster,
    complete,
    connected,
    enter_client,
    enter_prober,
    find_client,
    with_sidecar,
)
from isthmus.lab.demo.observe import running_prober
from isthmus.lab.demo.steps import pods_of, scale
from isthmus.lab.demo.workloads import DEMO, make
from isthmus.lab.exec import enter_pod
from isthmus.lab.faults.kinds import HOP_FAULTS, Fault
from isthmus.lab.pki import PkiFiles
from isthmus.lab.plan import ClusterPlan
from isthmus.lab.reference import PodReference
from tests.e2e.commands import isthmus, kubectl, pilot_page, until_one_pilot
from tests.e2e.conftest import Mesh
from tests.e2e.faulty import broken
from tests.e2e.test_identity import ca, living, phase, traffic
from tests.support.tokens import grown_old

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


async def rows_now() -> dict[str, dict[str, Any]]:
    """What the one control plane says of each cluster, once no other is about to end beside it."""
    await until_one_pilot()
    return {row["id"]: row for row in await asyncio.to_thread(pilot_page, "/debug/clusterz")}


async def row_of(cluster: str) -> dict[str, Any]:
    """The row of one cluster."""
    return (await rows_now())[cluster]


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


@pytest.mark.parametrize(
    ("lifetime", "introduction"),
    [
        pytest.param(3600, 5, id="until the new root signs"),
        pytest.param(75, 20, id="until it alone is trusted", marks=pytest.mark.soak),
    ],
)
async def test_the_bar_no_request_fails_while_replicas_root_and_remote_api_server_go(
    lifetime: int, introduction: int, plans: Sequence[ClusterPlan]
) -> None:
    """A remote's API server dies, its token is renewed before that and ends meanwhile, the control plane is
    replaced, and the CA's root is rotated, which ends when nothing is valid any more that the old one signed.
    """
    async with (
        living(plans, lifetime, introduction) as primary,
        connected(plans) as (_, remote),
        running_prober(await enter_prober(primary)) as observed,
    ):
        mesh = Mesh(primary, remote, observed)
        await both_answer(mesh)
        (old,) = (await phase(primary, Phase.STEADY, 1)).roots
        async with traffic(primary) as seen:
            ended = await token_that_ends(mesh, seconds=20)
            async with broken(remote.plan, Fault.API_STOP):
                await asyncio.to_thread(ca, primary, "rotate")
                await phase(primary, Phase.INTRODUCING, 2)
                await replace_control_plane(mesh)
                rows = await rows_now()
                assert rows["east"]["state"] == "stale"
                assert "until it is trusted in east" in str(rows["west"]["remarks"])
                await both_answer(mesh)
                await asyncio.sleep(max(0, ended.at - time.monotonic()))
            async with running_client(access_from_secret(ended.kubeconfig)) as nobody:
                with pytest.raises(ApiError, match="401"):
                    await nobody.list(NAMESPACE)
            await fresh_again("east")
            await phase(primary, Phase.RETIRING, 2)
            if lifetime == 75:
                await asyncio.sleep(60)
                await trusted_alone(mesh, (await phase(primary, Phase.STEADY, 1)).roots, old)
            await both_answer(mesh)
        assert (seen.failures, len(seen.clusters)) == ([], 2)
        for cluster in (primary, remote):
            await one_more_pod(mesh, cluster)
        assert observed.failures() == []


@dataclass(frozen=True)
class Ending:
    """A kubeconfig whose token ends then (CLOCK_MONOTONIC, seconds)."""

    kubeconfig: bytes
    at: float


async def token_that_ends(mesh: Mesh, seconds: int) -> Ending:
    """`cluster add` with a token of ten minutes, all but so many seconds of them later; it was renewed."""
    east, home = mesh.remote, mesh.primary.client
    add = ("cluster", "add", "east", "--context", "east", "--kubeconfig", str(east.plan.kubeconfig))
    control = ("--control-kubeconfig", str(mesh.primary.plan.kubeconfig), "--token-lifetime", "10m")
    added = await asyncio.to_thread(isthmus, *add, *control)
    assert added.returncode == 0, added.stderr
    signer = TokenSigner.load(PkiFiles(east.plan.directory / "pki").service_account_key)
    young = (await home.get(SECRET, "east", SYSTEM)).data["east"]
    old = grown_old("east", young, signer, age=600 - seconds, left=seconds)
    ending = Ending(old, time.monotonic() + seconds)
    data = {"data": {"east": base64.b64encode(old).decode()}}
    await home.patch(kind_named("Secret"), "east", data, SYSTEM)
    async with asyncio.timeout(seconds):
        while (await home.get(SECRET, "east", SYSTEM)).data["east"] == old:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    return ending


async def trusted_alone(mesh: Mesh, roots: Sequence[TrustedRoot], old: TrustedRoot) -> None:
    """Wait until Envoys on both sides trust these roots and no other; the old one is none of them."""
    wanted = {int(root.serial, 16) for root in roots}
    assert int(old.serial, 16) not in wanted
    async with asyncio.timeout(60):
        for pod in [await find_client(mesh.primary), *map(read_reference, await pods_of(mesh.remote))]:
            while await trusted(pod) != wanted:  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.5)


async def trusted(pod: PodReference) -> set[int]:
    """The serial numbers of the roots that a pod's Envoy trusts."""
    entrance = enter_pod(pod, "istio-proxy", ["curl", "-s", "localhost:15000/certs"])
    process = await asyncio.create_subprocess_exec(
        *entrance.argv, env=entrance.env, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    found = [root for each in json.loads(output)["certificates"] for root in each.get("ca_cert", [])]
    return {int(root["serial_number"], 16) for root in found}


def read_reference(text: str) -> PodReference:
    return PodReference(*text.split("/"))


async def replace_control_plane(mesh: Mesh) -> None:
    """All pods of istio-pilot are other ones, and ready."""
    await asyncio.to_thread(kubectl, "west", "rollout", "restart", "deployment/istio-pilot", "-n", SYSTEM)
    status = ("rollout", "status", "deployment/istio-pilot", "-n", SYSTEM, "--timeout=60s")
    await asyncio.to_thread(kubectl, "west", *status)


@pytest.mark.soak
async def test_in_a_partition_each_side_goes_on_with_what_it_reaches(mesh: Mesh) -> None:
    """What is on its way across fails; the next requests take seconds, then all are answered elsewhere."""
    begun = time.monotonic()
    async with broken(mesh.remote.plan, Fault.PARTITION):
        await asyncio.sleep(45)
        row = await row_of(mesh.remote.name)
        assert (row["state"], row["served"]) == ("fresh", True)
        answers = mesh.observed.since(begun + 5)
        failed = [answer for answer in answers if answer.failed]
        # The client gives up after 5 s: two kept connections are dead, and some requests meet two dead ends.
        assert len(failed) <= 6
        assert all("timed out" in answer.failed for answer in failed)
        # Every other request would wait for 5 s, did endpoints that cannot be reached not rest.
        assert len(answers) > 300
        assert {answer.cluster for answer in answers if not answer.failed} == {mesh.primary.name}
    healed = time.monotonic()
    await mesh.observed.first(lambda answer: answer.cluster == mesh.remote.name, healed, timeout=90)
    await both_answer(mesh)


IDLE = """
import json, sys, time
from isthmus.lab.prober import Prober
prober = Prober(sys.argv[1], 120)
for pause in 40 * [0.02] + [70] + 1000 * [0.02]:
    print(json.dumps(prober.ask()), flush=True)
    time.sleep(pause)
"""


@pytest.mark.soak
async def test_kept_connections_into_a_partition_are_given_up_long_before_the_kernel_would(
    mesh: Mesh,
) -> None:
    """Over HTTP/2 all requests wait behind the first, for half a minute; over HTTP/1.1 connections that were
    idle meanwhile are known to be dead. All clients are patient, and none is failed.
    """
    for cluster in (mesh.primary, mesh.remote):
        settings = await settings_in_cluster(cluster.access, SYSTEM)
        await apply(cluster.client, (with_sidecar(each, settings) for each in kept_services(cluster.name)))
    await asyncio.gather(*(complete(each, "h2-echo") for each in (mesh.primary, mesh.remote)))
    patient = ["env", "PATIENCE_SECONDS=120", "PAUSE_SECONDS=0.05", "python", "-m", "isthmus.lab.prober"]
    async with (
        running_prober(await enter_client(mesh.primary, [*patient, "http://h2-echo.demo/"])) as busy,
        running_prober(await enter_client(mesh.primary, ["python", "-c", IDLE, "http://idle.demo/"])) as idle,
    ):
        for observed in (busy, idle):
            for name in (mesh.primary.name, mesh.remote.name):
                await observed.first(lambda answer, name=name: answer.cluster == name, 0.0)
        async with asyncio.timeout(60):
            while len(idle.answers) < 40:  # noqa: ASYNC110 - another process's answers
                await asyncio.sleep(0.1)
        begun = time.monotonic()
        async with broken(mesh.remote.plan, Fault.PARTITION):
            await asyncio.sleep(95)
        assert busy.failures() == idle.failures() == []
        assert max(after.at - before.at for before, after in pairwise(busy.since(begun))) < 45
        assert len(busy.since(begun + 45)) > 50
        woken = idle.since(begun + 60)
        assert len(woken) > 50
        assert max(after.at - before.at for before, after in pairwise(woken)) < 15


def kept_services(cluster: str) -> list[Any]:
    """Service and Deployment of a server of HTTP/2, and a Service of `echo` that nobody else uses."""
    container = {
        "name": "h2-echo",
        "image": "isthmus/echo",
        "command": ["python", "-c", Path(__file__).with_name("h2_echo.py").read_text()],
        "env": [{"name": "CLUSTER", "value": cluster}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    labels = {"app": "h2-echo"}
    ports = [{"name": "http2", "port": 80, "targetPort": 8080}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    idle = {"selector": {"app": "echo"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return [
        make("v1", "Service", "idle", DEMO, spec=idle),
        make("v1", "Service", "h2-echo", DEMO, spec={"selector": labels, "ports": ports}),
        make("apps/v1", "Deployment", "h2-echo", DEMO, spec=spec),
    ]
