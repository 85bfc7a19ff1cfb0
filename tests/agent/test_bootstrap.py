import json
import re
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Any

import pytest

from isthmus.agent.bootstrap import make_bootstrap
from isthmus.agent.settings import read_settings
from isthmus.lib.binaries import find_envoy
from tests.agent.test_settings import ENVIRONMENT


def bootstrap(labels: str = "", **environment: str) -> dict[str, Any]:
    return make_bootstrap(read_settings({**ENVIRONMENT, **environment}, labels))


def cluster(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in found["static_resources"]["clusters"] if each["name"] == name)


@pytest.mark.parametrize(
    "environment",
    [{}, {"INSTANCE_IP": "fd00::3", "ISTIO_DELTA_XDS": "false"}],
    ids=["ipv4-delta", "ipv6-state-of-the-world"],
)
async def test_a_real_envoy_accepts_it(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps(bootstrap('app="echo"', **environment)))
    process = await create_subprocess_exec(
        find_envoy(), "--mode", "validate", "--config-path", file, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert b"deprecated" not in said.lower()


def test_the_node_says_what_istios_does() -> None:
    node = bootstrap('app="echo"\nversion="v1"', ISTIO_META_NETWORK="n1")["node"]
    assert node["id"] == "sidecar~10.1.2.3~echo-1.demo~demo.svc.cluster.local"
    assert node["cluster"] == "echo.demo"
    metadata = node["metadata"]
    assert (metadata["CLUSTER_ID"], metadata["NETWORK"]) == ("west", "n1")
    assert (metadata["NAME"], metadata["NAMESPACE"]) == ("echo-1", "demo")
    assert (metadata["SERVICE_ACCOUNT"], metadata["INSTANCE_IPS"]) == ("echo", "10.1.2.3")
    assert metadata["LABELS"] == {"app": "echo", "version": "v1"}


def test_a_variable_cannot_make_it_another_pod() -> None:
    assert bootstrap(ISTIO_META_NAMESPACE="kube-system")["node"]["metadata"]["NAMESPACE"] == "demo"


@pytest.mark.parametrize(
    ("labels", "locality"),
    [
        ("", {}),
        (
            'topology.kubernetes.io/region="r1"\ntopology.kubernetes.io/zone="z1"',
            {"region": "r1", "zone": "z1"},
        ),
        (
            'istio-locality="r2.z2.s2"\ntopology.kubernetes.io/region="r1"',
            {"region": "r2", "zone": "z2", "sub_zone": "s2"},
        ),
    ],
)
def test_locality_comes_from_labels(labels: str, locality: dict[str, str]) -> None:
    assert bootstrap(labels)["node"]["locality"] == locality


def test_ads_is_incremental_unless_told_otherwise() -> None:
    assert bootstrap()["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"
    told = bootstrap(ISTIO_DELTA_XDS="false")
    assert told["dynamic_resources"]["ads_config"]["api_type"] == "GRPC"


def test_the_control_plane_is_found_where_the_proxy_config_says() -> None:
    found = cluster(bootstrap(PROXY_CONFIG='{"discoveryAddress": "pilot.mesh:9"}'), "xds-grpc")
    endpoint = found["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"]["socket_address"] == {"address": "pilot.mesh", "port_value": 9}
    assert found["cluster_type"]["name"] == "envoy.cluster.strict_dns"


@pytest.mark.parametrize(
    ("statistic", "name"),
    [
        ("cluster.xds-grpc.upstream_cx_total", "xds-grpc"),
        (
            "cluster.outbound|80||echo.demo.svc.cluster.local.upstream_rq_total",
            "outbound|80||echo.demo.svc.cluster.local",
        ),
        ("cluster.outbound|80|v1|e.d.svc.cluster.local.x", "outbound|80|v1|e.d.svc.cluster.local"),
        ("cluster.inbound|8080||.upstream_rq_total", "inbound|8080||"),
    ],
)
def test_a_clusters_statistics_carry_its_whole_name_as_a_tag(statistic: str, name: str) -> None:
    tag = next(t for t in bootstrap()["stats_config"]["stats_tags"] if t["tag_name"] == "cluster_name")
    found = re.match(tag["regex"], statistic)
    assert found is not None
    assert found[2] == name
