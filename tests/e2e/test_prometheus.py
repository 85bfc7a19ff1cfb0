"""Statistics of all clusters arrive in one place, a real Prometheus, also when the bridge moves."""

import asyncio
import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Callable

import pytest

from isthmus.lab.demo.deploy import SYSTEM
from isthmus.lab.prometheus.starting import prometheus_url
from tests.e2e.commands import kubectl, lab, pods
from tests.e2e.conftest import Mesh

BRIDGE = "istio=statsd-prom-bridge"
Series = dict[str, float]
"""Requests that echo served, by the cluster in which it did."""

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="prometheus is not installed: statistics are NOT tested (apt-get install prometheus)",
)


def served(job: str, instance: str = ".*") -> Series:
    """What Prometheus knows now of one job."""
    metric = {
        "statsd-prom-bridge": 'envoy_cluster_upstream_rq_total{workload="echo",direction="inbound"',
        "envoy": 'envoy_cluster_upstream_rq_total{pod=~"echo-.*"',
    }[job]
    query = f'sum by (cluster) ({metric},job="{job}",instance=~"{instance}"}})'
    address = f"{prometheus_url()}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(address, timeout=5) as answer:
        found = json.load(answer)["data"]["result"]
    return {one["metric"]["cluster"]: float(one["value"][1]) for one in found}


async def until(look: Callable[[], Series], *, what: str) -> None:
    """Until both clusters have served something."""
    seen: Series = {}
    try:
        async with asyncio.timeout(40):
            while {name for name, count in seen.items() if count} != {"west", "east"}:
                await asyncio.sleep(0.5)
                seen = await asyncio.to_thread(look)
    except TimeoutError:
        raise AssertionError(f"{what}: Prometheus knows of {seen} only") from None


@needs_prometheus
async def test_statistics_of_both_clusters_are_in_prometheus_also_after_the_bridge_moved(mesh: Mesh) -> None:
    assert "Prometheus is up" in lab("up", "--prometheus")
    await until(lambda: served("envoy"), what="from proxies")
    await until(lambda: served("statsd-prom-bridge"), what="from the bridge")
    (before,) = pods("west", SYSTEM, BRIDGE)
    kubectl("west", "delete", "pod", "-n", SYSTEM, "-l", BRIDGE)
    kubectl("west", "rollout", "status", "deployment/istio-statsd-prom-bridge", "-n", SYSTEM, "--timeout=30s")
    (after,) = pods("west", SYSTEM, BRIDGE)
    address = after["status"]["podIP"]
    assert address != before["status"]["podIP"]
    await until(lambda: served("statsd-prom-bridge", f"{address}:9102"), what="from the bridge that moved")
