"""`python -m bench.clusters`: many remote clusters beside one control plane; JSON on standard output.

Mocked API servers in a process of their own join in steps; then proxies follow everything while a pod is
replaced in every cluster every second; then one cluster hangs. What is counted is the control plane's process
alone: CPU as a part of one core, resident memory for an endpoint above the idle process, and the time from a
watch's line until the last proxy has the change.
"""

import argparse
import asyncio
import base64
import json
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.children import Child, Json, running_child, usage
from bench.measure import tell
from bench.mocked import NAMESPACE, PER_CLUSTER, service_name
from bench.plots import plot
from bench.targets import free_port, listening
from isthmus.kube.access import access_from_file
from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import untyped

Point = tuple[float, float]
_SECRETS = untyped("", "v1", "secrets", "Secret")
_SERVICES = untyped("", "v1", "services", "Service")
_SETTLE = 3.0
_STEPS = [5, 10, 25, 50, 100]
_ARRIVES_WITHIN = 30.0
_FRESH_WITHIN = 120.0
_CONTROL = "istio-system"
_PROBED = 1
"""The cluster whose changes are timed."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured, and the parts around it."""

    client: Client
    mocked: Child
    mocked_port: int
    pilot: Child
    xds_port: int
    http_port: int
    fleet: Child

    async def join(self, first: int, last: int) -> Json:
        """Register clusters by their Secrets, and wait until all are fresh; what that cost."""
        before, began = usage(self.pilot.pid), time.monotonic()
        for number in range(first, last):
            await self.client.create(_SECRETS, _secret(number, self.mocked_port), _CONTROL)
        await self._until_fresh(last + 1)
        seconds = time.monotonic() - began
        await asyncio.sleep(_SETTLE)
        after = usage(self.pilot.pid)
        cpu = (after.cpu - before.cpu) / (last - first)
        memory = (after.memory - before.memory) / 1024 / PER_CLUSTER / (last - first)
        tell(f"{last} clusters: {cpu * 1000:.0f} ms of CPU each, {after.memory >> 20} MiB in all")
        return {
            "clusters": last,
            "seconds": round(seconds, 2),
            "cpu_ms_each": round(cpu * 1000, 1),
            "memory_mib": round(after.memory / 2**20, 1),
            "memory_kib_an_endpoint": round(memory, 2),
        }

    async def _until_fresh(self, count: int) -> None:
        url = f"http://127.0.0.1:{self.http_port}/debug/clusterz"
        async with asyncio.timeout(_FRESH_WITHIN), aiohttp.ClientSession() as session:
            while True:
                async with session.get(url) as answer:
                    rows: list[Any] = await answer.json()
                if sum(row["state"] == "fresh" for row in rows) >= count:
                    return
                await asyncio.sleep(0.25)

    async def rest(self, seconds: float) -> float:
        """The part of a core that the control plane uses in that time."""
        before, began = usage(self.pilot.pid).cpu, time.monotonic()
        await asyncio.sleep(seconds)
        return (usage(self.pilot.pid).cpu - before) / (time.monotonic() - began)

    async def changing(self, clusters: int, seconds: float, rounds: int, *, within: int) -> Json:
        """A change a second in every cluster: the part of a core that takes, and how fast changes arrive.

        The changes that are timed have addresses like 10.1.WITHIN.*, which must not have been there before.
        """
        await self.mocked.ask({"do": "change", "clusters": clusters, "every": 1.0})
        await asyncio.sleep(_SETTLE)
        share = await self.rest(seconds)
        tell(f"a change a second in {clusters} clusters: {share:.2f} of a core")
        last: list[float] = []
        for number in range(rounds):
            address = f"10.{_PROBED}.{within}.{number + 1}"
            await self.fleet.ask({"do": "expect", "needle": address, "timeout": _ARRIVES_WITHIN})
            sent = await self.mocked.ask({"do": "replace", "cluster": _PROBED, "address": address})
            arrived = await self.fleet.answer()
            if arrived["missing"]:
                raise RuntimeError(f"{address} did not arrive at {arrived['missing']} proxies")
            last.append(arrived["arrivals"][-1] - sent["began"])
        await self.mocked.ask({"do": "change", "clusters": clusters, "every": None})
        report = {
            "cpu_share_of_a_core": round(share, 3),
            "last_proxy_ms": round(statistics.median(last) * 1000, 1),
            "last_proxy_ms_worst": round(max(last) * 1000, 1),
        }
        tell(f"a change is at the last proxy after {report['last_proxy_ms']} ms")
        return report


def _secret(number: int, port: int) -> Json:
    kubeconfig: Json = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{port}/{number}"}}],
        "users": [{"name": "it", "user": {}}],
    }
    data = {f"remote-{number}": base64.b64encode(json.dumps(kubeconfig).encode()).decode()}
    return {
        "metadata": {"name": f"remote-{number}", "labels": {"istio/multiCluster": "true"}},
        "data": data,
    }


async def _fill_home(client: Client, clusters: int) -> None:
    """As the guide has it, the caller's cluster has every Service; its own have no endpoints here."""
    names = sorted({service_name(cluster, index) for cluster in range(clusters) for index in range(10)})
    for index, name in enumerate(names):
        address = f"10.97.{index >> 8}.{index & 255}"
        ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
        spec = {"clusterIP": address, "clusterIPs": [address], "ports": ports}
        await client.create(_SERVICES, {"metadata": {"name": name}, "spec": spec}, NAMESPACE)


async def measure(options: argparse.Namespace) -> Json:
    """The whole run."""
    steps: Sequence[int] = options.clusters
    most = steps[-1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            api = await stack.enter_async_context(running_child("-m", "bench.api", str(folder)))
            kubeconfig = Path(await api.line())
            client = await stack.enter_async_context(running_client(access_from_file(kubeconfig)))
            await _fill_home(client, most)
            mocked = await stack.enter_async_context(running_child("-m", "bench.mocked"))
            xds, http, log = free_port(), free_port(), folder / "pilot.log"
            pilot = await stack.enter_async_context(
                running_child(
                    *("-m", "isthmus.cli.main", "pilot", "--kubeconfig", str(kubeconfig)),
                    *("--namespace", _CONTROL, "--xds-address", f"127.0.0.1:{xds}"),
                    *("--xds-tls-address", "127.0.0.1:0", "--http-address", f"127.0.0.1:{http}"),
                    *("--log-level", "warning"),
                    log=log,
                )
            )
            fleet = await stack.enter_async_context(running_child("-m", "bench.proxies"))
            await listening(xds, log)
            bench = Bench(client, mocked, int(await mocked.line()), pilot, xds, http, fleet)
            await asyncio.sleep(_SETTLE)
            idle = usage(pilot.pid).memory
            joined = [
                await bench.join(first, last) for first, last in zip([0, *steps[:-1]], steps, strict=True)
            ]
            held = usage(pilot.pid).memory
            order = {"do": "connect", "address": f"127.0.0.1:{xds}", "form": options.form, "tls": ""}
            await fleet.ask(order | {"count": options.proxies, "cluster": "Kubernetes", "at_once": 5})
            tell(f"{options.proxies} proxies follow everything")
            quiet = await bench.rest(options.seconds)
            busy = await bench.changing(most, options.seconds, options.rounds, within=253)
            again = await bench.changing(most, options.seconds, options.rounds, within=254)
            serving = usage(pilot.pid).memory
            await mocked.ask({"do": "hang", "cluster": 0})
            await asyncio.sleep(_SETTLE)
            hung = await bench.changing(most, options.seconds, options.rounds, within=255)
    endpoints = most * PER_CLUSTER
    return {
        "clusters": most,
        "endpoints": endpoints,
        "proxies": options.proxies,
        "joining": joined,
        "memory": {
            "idle_mib": round(idle / 2**20, 1),
            "kib_an_endpoint": round((held - idle) / 1024 / endpoints, 2),
            "kib_an_endpoint_with_proxies": round((serving - idle) / 1024 / endpoints, 2),
        },
        "quiet": {"cpu_share_of_a_core": round(quiet, 3)},
        "changing": busy,
        "changing_once_more": again,
        "changing_with_one_hung": hung,
    }


def draw(result: Json, folder: Path) -> None:
    """Plot what joining costs, in all, by the number of clusters."""
    joined, idle = result["joining"], result["memory"]["idle_mib"]
    cpu, memory, spent, before = list[Point](), list[Point](), 0.0, 0
    for row in joined:
        spent += row["cpu_ms_each"] / 1000 * (row["clusters"] - before)
        before = row["clusters"]
        cpu.append((before, spent))
        memory.append((before, row["memory_mib"] - idle))
    folder.mkdir(parents=True, exist_ok=True)
    clusters = f"clusters of {PER_CLUSTER:,} endpoints"
    plot(folder / "clusters-cpu.svg", "CPU to join clusters", clusters, "seconds", {"control plane": cpu})
    plot(folder / "clusters-memory.svg", "Memory", clusters, "MiB above idle", {"control plane": memory})


def _steps(text: str) -> list[int]:
    steps = [int(each) for each in text.split(",")]
    if steps != sorted(set(steps)) or steps[0] < 1 or steps[-1] > 200:
        raise argparse.ArgumentTypeError("counts from 1 to 200 that grow, such as 10,50,100")
    return steps


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.clusters", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--clusters", type=_steps, default=[5, 10, 25, 50, 100], help="how many join, in steps"
    )
    parser.add_argument("--proxies", type=int, default=20)
    parser.add_argument("--form", choices=("sotw", "delta"), default="delta")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each share of CPU is counted")
    parser.add_argument("--rounds", type=int, default=15, help="changes whose arrival is timed")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="where to draw what joining costs")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the children, too
    result = uvloop.run(measure(options))
    if options.plots is not None:
        draw(result, options.plots)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
