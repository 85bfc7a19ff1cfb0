from pathlib import Path
from typing import Any

import msgspec
import pytest

from isthmus.inject.settings import IMAGE, InjectionSettings, NativeSidecars
from isthmus.inject.sources import Source, settings_from
from isthmus.inject.values import read_values
from isthmus.lib.errors import UserError
from tests.charts.rendering import CONTROL_PLANE, REMOTE, one, render

NOTHING = Source("", "nothing")


def values(**given: Any) -> str:
    return msgspec.json.encode({"global": given}).decode()


@pytest.mark.parametrize("text", ["", "{}", "global: {}", "global: {proxy: {}}", '{"pilot": {"x": 1}}'])
def test_values_that_say_nothing_are_the_defaults(text: str) -> None:
    assert read_values(text, "values") == InjectionSettings()


def test_every_value_of_the_sidecar_counts() -> None:
    found = read_values(
        values(
            hub="mirror.example/mesh",
            tag=1.5,
            imagePullPolicy="Always",
            imagePullSecrets=["registry"],
            multiCluster={"clusterName": "west"},
            network="n1",
            caAddress="ca.example:15012",
            proxy={
                "image": "sidecar",
                "resources": {"requests": {"cpu": "10m"}},
                "logLevel": "info",
                "nativeSidecars": "always",
                "holdApplicationUntilProxyStarts": True,
                "excludeOutboundPorts": 9000,
                "includeIPRanges": "10.0.0.0/8",
            },
        ),
        "values",
    )
    assert found == InjectionSettings(
        image="mirror.example/mesh/sidecar:1.5",
        cluster_id="west",
        network="n1",
        proxy_config={"holdApplicationUntilProxyStarts": True},
        native_sidecars=NativeSidecars.ALWAYS,
        resources={"requests": {"cpu": "10m"}},
        log_level="info",
        image_pull_policy="Always",
        image_pull_secrets=("registry",),
        redirection={"exclude_outbound_ports": "9000", "include_outbound_ranges": "10.0.0.0/8"},
        ca_address="ca.example:15012",
    )


def test_an_image_with_a_slash_is_a_whole_name() -> None:
    assert read_values(values(tag="2", proxy={"image": "a.example/b:1"}), "values").image == "a.example/b:1"


def test_a_cluster_may_be_called_by_a_number() -> None:
    assert read_values(values(multiCluster={"clusterName": 5}), "values").cluster_id == "5"


def test_the_mesh_config_lies_over_the_values() -> None:
    mesh = Source("defaultConfig: {concurrency: 3, holdApplicationUntilProxyStarts: false}", "mesh")
    held = Source(values(proxy={"holdApplicationUntilProxyStarts": True}), "values")
    assert settings_from(mesh, held).proxy_config == {
        "concurrency": 3,
        "holdApplicationUntilProxyStarts": False,
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "neither JSON nor YAML"),
        ("[]", "values is not as the chart has it"),
        (values(hub=1), "values: global.hub is not"),
        (values(proxy={"nativeSidecars": "sometimes"}), "values: global.proxy.nativeSidecars is not"),
        (values(imagePullSecrets=[{"name": "x"}]), r"values: global.imagePullSecrets.0. is not"),
        (values(proxy={"includeIPRanges": "ten"}), "values: global.proxy.includeIPRanges: 'ten' is no range"),
        (values(proxy={"excludeInboundPorts": "x"}), "values: global.proxy.excludeInboundPorts: 'x' is no"),
    ],
)
def test_a_bad_value_is_refused_by_its_path(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_values(text, "values")


@pytest.mark.parametrize(
    ("chart", "settings", "statsd"),
    [
        (CONTROL_PLANE, "statsd.enabled=false", None),
        (REMOTE, "meshConfig.defaultConfig.statsdUdpAddress=", ""),
        (CONTROL_PLANE, "meshConfig.defaultConfig.statsdUdpAddress=a.example:8125", "a.example:8125"),
    ],
)
def test_statistics_go_where_the_operator_says_or_nowhere(
    chart: Path, settings: str, statsd: str | None
) -> None:
    mesh = one(render(chart, settings), "ConfigMap", "istio")["data"]["mesh"]
    assert settings_from(Source(mesh, "mesh"), NOTHING).proxy_config.get("statsdUdpAddress") == statsd


def test_both_charts_write_what_injection_reads() -> None:
    settings = (
        "global.multiCluster.clusterName=west,global.network=n1,global.caAddress=ca.example:15012,"
        "global.proxy.excludeOutboundPorts=9000,global.proxy.nativeSidecars=always"
    )
    for chart in (CONTROL_PLANE, REMOTE):
        objects = render(chart, settings, namespace="mesh")
        mesh = Source(one(objects, "ConfigMap", "istio")["data"]["mesh"], "mesh")
        text = one(objects, "ConfigMap", "istio-sidecar-injector")["data"]["values"]
        found = settings_from(mesh, Source(text, "values"))
        assert found.image.startswith(f"{IMAGE}:")
        assert (found.cluster_id, found.network, found.ca_address) == ("west", "n1", "ca.example:15012")
        assert found.proxy_config["discoveryAddress"] == "istio-pilot.mesh.svc:15012"
        assert found.proxy_config["statsdUdpAddress"] == "istio-statsd-prom-bridge.mesh.svc:9125"
        assert found.redirection["exclude_outbound_ports"] == "9000"
        assert found.resources == InjectionSettings().resources
        assert found.native_sidecars is NativeSidecars.ALWAYS
