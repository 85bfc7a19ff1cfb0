"""One set of rules holds for the proxies of both clusters, also while the policy server is away."""

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
import yaml

from isthmus.inject.sources import settings_in_cluster
from isthmus.lab.apply import apply
from isthmus.lab.demo.deploy import (
    SYSTEM,
    LabCluster,
    complete,
    connected,
    deploy_workloads,
    find_client,
    with_sidecar,
)
from isthmus.lab.demo.installing import install_control_plane, install_remote, join
from isthmus.lab.demo.workloads import DEMO, ECHO_URL, client
from isthmus.lab.exec import enter_pod
from isthmus.lab.plan import ClusterPlan, host_interfaces
from tests.e2e.commands import kubectl, pods

SECURE = "global.controlPlaneSecurityEnabled=true"
DEADLINE = 0.5
"""Seconds: the mesh config's default."""


@dataclass(frozen=True)
class Answer:
    status: int
    rule: str
    seconds: float


@dataclass(frozen=True)
class Mesh:
    primary: LabCluster
    remote: LabCluster
    redis: str

    async def ask(self, cluster: LabCluster, times: int) -> list[Answer]:
        """Ask echo from a cluster's client, so many times at once."""
        written = "%{http_code} %{time_total} %header{x-isthmus-policy}\\n"
        curl = ["curl", "-s", "-Z", "-o", "/dev/null", "-m", "20", "-w", written, f"{ECHO_URL}[1-{times}]"]
        entrance = enter_pod(await find_client(cluster), "client", curl)
        process = await asyncio.create_subprocess_exec(
            *entrance.argv, env=entrance.env, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        lines = [line.split(" ") for line in output.decode().splitlines()]
        return [Answer(int(status), rule, float(seconds)) for status, seconds, rule in lines]

    async def until(self, cluster: LabCluster, wanted: Sequence[tuple[int, str]]) -> None:
        """Ask until the answers to two dozen requests are just these."""
        seen: set[tuple[int, str]] = set()
        try:
            async with asyncio.timeout(30):
                while seen != set(wanted):
                    seen = {(one.status, one.rule) for one in await self.ask(cluster, 24)}
        except TimeoutError:
            raise AssertionError(f"{cluster.name}'s client got {seen}, not {wanted}") from None

    async def hangs(self, cluster: LabCluster, status: int) -> None:
        """While no policy server answers, each request has that answer when the deadline is over, once all
        sidecars have what the mesh config says.
        """
        signal_policy(signal.SIGSTOP)
        await self.until(cluster, [(status, "")])
        for one in await self.ask(cluster, 12):
            assert (one.status, one.rule) == (status, "")
            assert DEADLINE * 0.9 < one.seconds < DEADLINE + 3
        signal_policy(signal.SIGCONT)

    def apply(self, *rules: dict[str, Any]) -> None:
        """The policy of namespace demo."""
        found = {
            "apiVersion": "policy.isthmus.dev/v1alpha1",
            "kind": "Policy",
            "metadata": {"name": "guard", "namespace": DEMO},
            "spec": {"selector": {"matchLabels": {"app": "echo"}}, "rules": list(rules)},
        }
        kubectl(self.primary.name, "apply", "-f", "-", text=yaml.safe_dump(found))

    async def install(self, *settings: str) -> None:
        options = ["policy.enabled=true", "policy.replicaCount=2", f"policy.redisUrl={self.redis}", *settings]
        await install_control_plane(self.primary, *(f"--set={one}" for one in (SECURE, *options)))


@asynccontextmanager
async def running_redis(address: str) -> AsyncGenerator[str]:
    """A Redis that pods can reach; yields its URL."""
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *("redis-server", "--bind", address, "--port", str(port), "--protected-mode", "no", "--save", ""),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"redis://{address}:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest_asyncio.fixture
async def mesh(plans: Sequence[ClusterPlan]) -> AsyncGenerator[Mesh]:
    """Two clusters joined, echo and a client in each, and two policy servers that share Redis; all by TLS."""
    async with (
        connected(plans) as (primary, remote),
        running_redis(str(host_interfaces()[0].ip)) as redis,
    ):
        found = Mesh(primary, remote, redis)
        await found.install()
        await install_remote(primary, remote, f"--set={SECURE}")
        await join(primary, remote)
        settings = await settings_in_cluster(remote.access, SYSTEM)
        await asyncio.gather(
            deploy_workloads(primary, [remote], replicas=1),
            apply(remote.client, (with_sidecar(each, settings) for each in client())),
        )
        await complete(remote, "client")
        try:
            yield found
        finally:
            signal_policy(signal.SIGCONT)
            kubectl(
                primary.name, "delete", "policy.policy.isthmus.dev", "guard", "-n", DEMO, "--ignore-not-found"
            )
            kubectl(remote.name, "delete", "deployment", "client", "-n", DEMO)


async def until_in_force(rule: str) -> None:
    """Until every policy server has the rule."""
    addresses = [one["status"]["podIP"] for one in pods("west", SYSTEM, "istio=mixer")]
    assert len(addresses) == 2
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        for address in addresses:
            known = ""
            while rule not in known:
                async with session.get(f"http://{address}:9093/debug/policyz") as page:
                    known = await page.text()


def signal_policy(number: signal.Signals) -> None:
    """Send a signal to every policy server."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"isthmus\0policy\0" in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), number)
        except OSError:
            continue


def deny(name: str, when: str) -> dict[str, Any]:
    return {"name": name, "when": when, "deny": {}}


async def test_rules_hold_in_both_clusters_and_their_server_may_hang_or_die(mesh: Mesh) -> None:
    west, east = mesh.primary, mesh.remote
    # Who is from the east is denied, wherever it asks; the rule names itself.
    mesh.apply(
        *(
            deny(f"east-to-{name}", f'source.cluster == "east" && destination.cluster == "{name}"')
            for name in ("west", "east")
        )
    )
    await mesh.until(east, [(403, "demo/guard/east-to-west"), (403, "demo/guard/east-to-east")])
    await mesh.until(west, [(200, "")])
    # Ten a minute, however many clusters ask and however many servers count.
    rule = {"name": "ten", "quota": {"max": 10, "window": "1m", "algorithm": "rolling"}}
    mesh.apply(rule)
    await mesh.until(west, [(200, ""), (429, "demo/guard/ten")])
    mesh.apply({**rule, "name": "again"})
    await mesh.until(east, [(429, "demo/guard/again")])
    mesh.apply({**rule, "name": "counted"})
    await until_in_force("demo/guard/counted")
    asked = await asyncio.gather(mesh.ask(west, 20), mesh.ask(east, 20))
    assert Counter(one.status for answers in asked for one in answers) == {200: 10, 429: 30}
    # A server that hangs costs the deadline, and then nobody is let in; the same when it is gone.
    mesh.apply(deny("nobody", 'source.namespace == "nobody"'))
    await mesh.until(west, [(200, "")])
    await mesh.hangs(west, 403)
    await mesh.until(west, [(200, "")])
    signal_policy(signal.SIGKILL)
    await mesh.until(west, [(403, "")])
    # Unless the mesh config says that then everybody is let in.
    await mesh.install("meshConfig.policyCheckFailOpen=true")
    mesh.apply(deny("all", "true"))
    await mesh.until(west, [(403, "demo/guard/all")])
    await mesh.hangs(west, 200)
