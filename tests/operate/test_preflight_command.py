"""`isthmus preflight`, against two clusters' API servers over loopback."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from isthmus.cli.preflight import preflight
from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import POD
from isthmus.lab.helm import find_helm
from isthmus.lab.pki import Identity
from isthmus.lib.lifecycle import task_scope
from isthmus.operate.asking import ACCOUNTS
from isthmus.operate.preflight.collecting import collect
from isthmus.operate.preflight.facts import Helm
from isthmus.operate.preflight.helm import read_helm
from isthmus.operate.preflight.probing import Member, probe
from tests.operate.desk import Desk, at_desk

app = typer.Typer()
app.command()(preflight)


async def run(desk: Desk, *words: str) -> tuple[int, str]:
    arguments = [*words, "--kubeconfig", str(desk.kubeconfig)]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def rows(text: str) -> list[tuple[str, str]]:
    return [(row["id"], row["level"]) for row in json.loads(text)]


async def test_two_clusters_that_fit_are_found_to(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        cidrs = ("--pod-cidr", "west=10.1.0.0/16", "--pod-cidr", "east=10.2.0.0/16")
        code, text = await run(desk, "west", "east", "-o", "json", *cidrs)
        assert code == 0, text
        assert ("cidr-disjoint", "ok") in rows(text)
        assert ("rights", "ok") in rows(text)
        assert ("clock-between", "ok") in rows(text)
        services = [row["what"] for row in json.loads(text) if row["id"] == "service-cidr"]
        assert services[1].startswith("service CIDR 10.97.0.0/16 (")


async def test_overlapping_cidrs_end_with_code_1_and_a_way_forward(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        cidrs = ("--pod-cidr", "west=10.1.0.0/16", "--pod-cidr", "east=10.1.0.0/16")
        code, text = await run(desk, "west", "east", *cidrs)
        assert code == 1
        assert (
            "pod CIDR 10.1.0.0/16 (given) of west overlaps with pod CIDR 10.1.0.0/16 (given) of east" in text
        )
        assert "do:  give one of the clusters another CIDR" in text


async def test_one_cluster_under_two_names_is_found(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        code, text = await run(desk, "west", "twin=west", "-o", "json")
        assert code == 1
        assert ("identity", "error") in rows(text)


async def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        before = desk.east.cluster.store.revision
        await run(desk, "west", "east")
        assert desk.east.cluster.store.revision == before


async def test_somebody_without_rights_is_told_which_are_missing(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        access = desk.east.access(Identity("nobody", ("nobodies",)))
        facts = await collect("east", access, namespace="istio-system", control=False, pods=(), services=())
        assert "kube-system" in facts.trouble


async def test_a_server_that_is_not_there_is_a_fact_and_not_a_crash(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        text = desk.kubeconfig.read_text().replace(desk.east.url, "https://127.0.0.1:1")
        desk.kubeconfig.write_text(text)
        code, printed = await run(desk, "west", "east", "-o", "json")
        assert code == 1
        assert ("reachable", "error") in rows(printed)


async def test_the_real_helm_says_its_version() -> None:
    assert (await read_helm(str(find_helm()))).version.startswith("v4.")
    assert await read_helm("/nowhere/helm") == Helm(
        trouble="/nowhere/helm cannot be run: No such file or directory"
    )


async def kubelet(client: Client, phases: dict[str, str]) -> None:
    """Runs every pod at once: its address and its phase, by the role in its name."""
    address = 0
    while True:
        for pod in (await client.list(POD, "default")).items:
            role = pod.metadata.name.split("-")[2]
            if pod.status.phase in ("", "Pending"):
                address += 1
                status: dict[str, Any] = {"phase": phases[role], "podIP": f"10.1.0.{address}"}
                status["podIPs"] = [{"ip": status["podIP"]}]
                with suppress(ApiError):
                    await client.patch(
                        POD, pod.metadata.name, {"status": status}, "default", subresource="status"
                    )
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("phases", "reason"),
    [
        ({"listen": "Failed", "connect": "Failed"}, "its pod ended as Failed"),
        ({"listen": "Running", "connect": "Failed"}, "its pod ended as Failed"),
    ],
)
async def test_probes_that_fail_say_so_and_go(tmp_path: Path, phases: dict[str, str], reason: str) -> None:
    async with at_desk(tmp_path) as desk, task_scope() as tasks:
        west, east = desk.mesh.west, desk.mesh.east
        for one in (west, east):
            await one.api.create(ACCOUNTS, {"metadata": {"name": "default"}}, "default")
            tasks.serve(kubelet(one.api, phases), name="kubelet")
        async with (
            running_client(west.server.access()) as left,
            running_client(east.server.access()) as right,
        ):
            members = [Member("west", left, west.server.url), Member("east", right, east.server.url)]
            probes = await probe(members, "west", namespace="default", image="isthmus/pilot:0")
            assert set(probes.failed) == {"west", "east"}
            assert reason in probes.failed["east"]
            assert (await left.list(POD)).items == ()
            assert (await right.list(POD)).items == ()
