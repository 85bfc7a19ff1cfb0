"""Faults on purpose: what the lab breaks, what is seen of it, and that all of it heals."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator, Sequence

import pytest_asyncio

from isthmus.kube.access import access_from_file
from isthmus.kube.client import running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lab.faults.kinds import Fault
from isthmus.lab.faults.record import read_records
from isthmus.lab.plan import ClusterPlan
from tests.e2e.commands import isthmus, lab
from tests.e2e.faulty import breaking, healing
from tests.e2e.machine import run


@pytest_asyncio.fixture
async def east(plans: Sequence[ClusterPlan]) -> AsyncGenerator[ClusterPlan]:
    """The remote cluster; whatever a test does to it, it is whole afterwards."""
    (plan,) = [each for each in plans if each.name == "east"]
    yield plan
    await healing(plan)


async def answer(plan: ClusterPlan) -> str:
    """The API server's version to an administrator on the host, or what went wrong."""
    async with running_client(access_from_file(plan.kubeconfig), timeout=1) as client:
        try:
            return (await client.request("GET", "/version")).decode()
        except (ApiError, Unreachable) as error:
            return str(error)


EFFECTS = {
    Fault.API_STOP: "Connection refused",
    Fault.API_DROP: "did not answer within 1 s",
    Fault.API_HTML: "It works!",
    Fault.API_401: "401 Unauthorized",
}


async def test_the_api_server_is_broken_as_told_until_it_is_healed(east: ClusterPlan) -> None:
    for fault, words in EFFECTS.items():
        await breaking(east, fault)
        assert words in await answer(east)
        assert await healing(east) == [f"Cluster east is healed of {fault.value}."]
        assert "gitVersion" in await answer(east)
    assert await healing(east) == ["Cluster east suffers no fault."]


async def test_the_commands_say_what_is_broken_and_refuse_what_cannot_be(east: ClusterPlan) -> None:
    assert "never answers" in await asyncio.to_thread(lab, "fault", "east", "api-hang", "--for", "1h")
    assert "did not answer within 1 s" in await answer(east)
    second = await asyncio.to_thread(isthmus, "lab", "fault", "east", "api-500")
    assert (second.returncode, "suffers api-hang" in second.stderr) == (1, True)
    status = json.loads(await asyncio.to_thread(lab, "status", "-o", "json"))
    (row,) = [row for row in status["clusters"] if row["name"] == "east"]
    (fault,) = row["faults"]
    assert fault.startswith("api-hang for 3")
    assert "healed of api-hang" in await asyncio.to_thread(lab, "heal", "east")
    assert "gitVersion" in await answer(east)


async def test_a_fault_ends_by_itself_and_heals_though_its_keeper_was_killed(east: ClusterPlan) -> None:
    await breaking(east, Fault.API_401, 1.0)
    async with asyncio.timeout(20):
        while read_records(east):  # noqa: ASYNC110 - another process's work
            await asyncio.sleep(0.05)
    assert "gitVersion" in await answer(east)
    for fault in (Fault.API_500, Fault.API_HANG):
        await breaking(east, fault, 3600)
        (record,) = read_records(east)
        os.kill(record.keeper, signal.SIGKILL)
        assert "gitVersion" not in await answer(east)
        assert record.describe(east).endswith("keeper was killed")
        await healing(east)
        assert "gitVersion" in await answer(east)
    rules = await asyncio.to_thread(run, "nsenter", f"--net=/run/netns/{east.netns}", "iptables-save")
    assert "KUBE" in rules or "ISTHMUS" in rules
    assert "isthmus-fault" not in rules


async def test_a_clock_that_is_an_hour_ahead_is_seen_by_preflight(east: ClusterPlan) -> None:
    await breaking(east, Fault.CLOCK_SKEW)
    options = ("--kubeconfig", str(east.kubeconfig), "-o", "json")
    found = await asyncio.to_thread(isthmus, "preflight", "east", *options)
    (clock,) = [one for one in json.loads(found.stdout) if one["id"] == "clock"]
    assert clock["level"] != "ok"
    assert "ahead" in clock["what"]
