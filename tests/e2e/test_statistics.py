"""The sidecars' statistics, of all clusters in one place: the bridge in the control plane's cluster."""

import asyncio
import re
import urllib.error
import urllib.request

from isthmus.lab.demo.deploy import SYSTEM
from tests.e2e.commands import kubectl, pods
from tests.e2e.conftest import Mesh

_BRIDGE = "istio=statsd-prom-bridge"
_PATIENCE = 90.0


def bridge_address() -> str:
    """The address of the bridge's one ready pod, "" while there is none."""
    ready = [
        pod["status"]["podIP"]
        for pod in pods("west", SYSTEM, _BRIDGE)
        if "deletionTimestamp" not in pod["metadata"]
        for condition in pod["status"].get("conditions", ())
        if (condition["type"], condition["status"]) == ("Ready", "True")
    ]
    return ready[0] if len(ready) == 1 else ""


def metrics() -> str:
    """What Prometheus would scrape there; "" while it cannot be reached."""
    address = bridge_address()
    if not address:
        return ""
    try:
        with urllib.request.urlopen(f"http://{address}:9102/metrics", timeout=5) as response:
            return response.read().decode()
    except (urllib.error.URLError, TimeoutError):
        return ""


def requests_to_echo(text: str) -> set[tuple[str, str]]:
    """Cluster and workload of the sidecars that tell of requests that they sent to, or took for, `echo`."""
    found: set[tuple[str, str]] = set()
    for labels in re.findall(r"^envoy_cluster_upstream_rq_total\{(.*)\} [1-9]", text, re.MULTILINE):
        tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        outward = tags.get("service", "").startswith("echo.demo.") and tags.get("port") == "80"
        if outward or (tags.get("direction"), tags.get("port")) == ("inbound", "8080"):
            assert tags["namespace"] == "demo"
            found.add((tags["cluster"], tags["workload"]))
    return found


async def statistics_of(wanted: set[tuple[str, str]]) -> None:
    """Wait until the bridge has these."""
    found: set[tuple[str, str]] = set()
    try:
        async with asyncio.timeout(_PATIENCE):
            while not wanted <= (found := requests_to_echo(metrics())):  # noqa: ASYNC110 -- others decide
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise AssertionError(f"the bridge has only {sorted(found)}") from None


async def test_statistics_of_all_clusters_arrive_also_at_a_bridge_with_another_address(mesh: Mesh) -> None:
    wanted = {("west", "client"), ("west", "echo"), ("east", "echo")}
    await statistics_of(wanted)
    before = bridge_address()
    [pod] = pods("west", SYSTEM, _BRIDGE)
    kubectl("west", "delete", "pod", "-n", SYSTEM, pod["metadata"]["name"])
    async with asyncio.timeout(_PATIENCE):
        while bridge_address() in ("", before):  # noqa: ASYNC110 -- others decide
            await asyncio.sleep(0.5)
    await statistics_of(wanted)
