import asyncio
import re
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from isthmus.agent.bootstrap import make_bootstrap
from isthmus.agent.settings import read_settings
from isthmus.lib.binaries import find_envoy
from tests.agent.fake_ads import serving_empty_mesh
from tests.agent.pod import PATIENCE, Pod, free_ports, running_pod
from tests.agent.test_settings import ENVIRONMENT

WEST = {
    "ISTIO_META_CLUSTER_ID": "west",
    "ISTIO_META_WORKLOAD_NAME": "echo",
    "SERVICE_ACCOUNT": "echo",
}


def tags(bootstrap: dict[str, Any]) -> dict[str, str]:
    return {
        tag["tag_name"]: tag["fixed_value"]
        for tag in bootstrap["stats_config"]["stats_tags"]
        if "fixed_value" in tag
    }


def test_statistics_for_statsd_say_whose_they_are() -> None:
    settings = read_settings({**ENVIRONMENT, **WEST})
    found = make_bootstrap(settings, 4444)
    assert tags(found) == {"cluster": "west", "namespace": "demo", "workload": "echo"}
    [sink] = found["stats_sinks"]
    assert sink["typed_config"]["address"]["socket_address"]["port_value"] == 4444
    assert sink["typed_config"]["max_bytes_per_datagram"] == 1432


def test_without_statsd_nothing_is_sent_and_prometheus_sees_no_more_tags() -> None:
    found = make_bootstrap(read_settings({**ENVIRONMENT, **WEST}))
    assert "stats_sinks" not in found
    assert tags(found) == {}


@pytest.mark.parametrize(
    ("statistic", "kept"),
    [
        ("cluster.outbound|80||a.b.svc.cluster.local.upstream_rq_2xx", True),
        ("cluster.outbound|80||a.b.svc.cluster.local.upstream_rq_time", False),
        ("cluster.inbound|80||.ssl.fail_verify_san", True),
        ("listener.0.0.0.0_15006.ssl.handshake", True),
        ("http.inbound_0.0.0.0_8080.ext_authz.denied", True),
        ("cluster.outbound|80||a.b.svc.cluster.local.circuit_breakers.default.cx_open", False),
        ("server.uptime", True),
    ],
)
def test_only_useful_statistics_are_kept(statistic: str, kept: bool) -> None:
    patterns = make_bootstrap(read_settings(ENVIRONMENT))["stats_config"]["stats_matcher"]["inclusion_list"]
    matches = [
        statistic.startswith(each["prefix"]) if "prefix" in each else statistic.endswith(each["suffix"])
        for each in patterns["patterns"]
    ]
    assert any(matches) is kept


@asynccontextmanager
async def running_bridge(udp: int, http: int) -> AsyncGenerator[None]:
    """`isthmus statsd-bridge`, the process."""
    bridge = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isthmus.cli.main", "statsd-bridge"),
        *("--udp-address", f"127.0.0.1:{udp}", "--http-address", f"127.0.0.1:{http}", "--tcp-address", ""),
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        yield
    finally:
        bridge.kill()
        await bridge.wait()


async def scraped(http: int, pattern: str, pod: Pod) -> str:
    """The bridge's metrics as soon as a line of theirs matches; meanwhile Envoy gets requests to count."""
    async with asyncio.timeout(PATIENCE * 2), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{http}/metrics") as response:
                    text = await response.text()
                    if re.search(pattern, text, re.MULTILINE):
                        return text
            except aiohttp.ClientError:
                pass
            await pod.health_of(pod.health)
            await asyncio.sleep(0.1)


async def test_a_real_envoys_statistics_reach_a_real_bridge(tmp_path: Path) -> None:
    udp, http = free_ports(2)
    more = {"inclusionSuffixes": ["upstream_rq_time"], "inclusionRegexps": [r"\.upstream_rq_pending_\w+$"]}
    proxy = {"statsdUdpAddress": f"localhost:{udp}", "proxyStatsMatcher": more}
    async with (
        serving_empty_mesh() as discovery,
        running_pod(tmp_path, find_envoy(), f"localhost:{discovery}", proxy=proxy, more=WEST) as pod,
    ):
        async with running_bridge(udp, http):
            await pod.health_says(pod.health, "ready\n")
            name = r'envoy_cluster_upstream_rq_total\{.*cluster_name="agent".*\}'
            text = await scraped(http, f"^{name} [1-9]", pod)
            [line] = re.findall(name, text)
            await scraped(http, r"^envoy_cluster_upstream_rq_time_count\{.* [1-9]", pod)
            await scraped(http, r"^envoy_cluster_upstream_rq_pending_active\{", pod)
            for tag in ('cluster="west"', 'namespace="demo"', 'workload="echo"'):
                assert tag in line
            assert not re.search(r"^statsd_exporter_sample_errors_total\{.*\} [1-9]", text, re.MULTILINE)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{pod.status}/metrics") as response,
        ):
            text = await response.text()
        assert re.search(r"^isthmus_agent_statsd_datagrams_total [1-9]", text, re.MULTILINE)
        assert 'isthmus_agent_statsd_dropped_datagrams_total{reason="refused"}' in text
        assert "isthmus_agent_certificates_issued_total 0" in text
