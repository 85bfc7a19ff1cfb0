import pytest

from isthmus.config.proxy import ProxyConfig, parse_proxy_config, split_address
from isthmus.lib.errors import UserError


def test_an_empty_proxy_config_has_istios_defaults() -> None:
    config = parse_proxy_config({}, "test")
    assert config == ProxyConfig()
    assert config.discovery_address == "istio-pilot.istio-system.svc:15012"
    assert config.termination_drain_duration.total_seconds() == 5


def test_fields_that_have_no_effect_here_are_let_through() -> None:
    assert parse_proxy_config({"tracing": {"zipkin": {}}, "concurrency": 4}, "test").concurrency == 4


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"concurrency": "two"}, "concurrency"),
        ({"concurrency": -1}, "concurrency"),
        ({"proxyStatsMatcher": {"inclusionRegexps": ["("]}}, "proxyStatsMatcher.inclusionRegexps"),
        ({"drainDuration": "soon"}, "drainDuration"),
        ({"drainDuration": 45}, "drainDuration"),
        ({"discoveryAddress": "pilot"}, "discoveryAddress"),
        ({"proxyMetadata": {"A": 1}}, "proxyMetadata"),
    ],
)
def test_a_wrong_field_is_refused_with_its_source_and_name(raw: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=f"mesh.yaml.*{named}"):
        parse_proxy_config(raw, "mesh.yaml")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("istio-pilot.istio-system.svc:15010", ("istio-pilot.istio-system.svc", 15010)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("[fd00::1]:15010", ("fd00::1", 15010)),
    ],
)
def test_an_address_is_split_into_host_and_port(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text, "test") == parts


@pytest.mark.parametrize(
    "text", ["", "pilot", "pilot:", ":15010", "pilot:0", "pilot:65536", "fd00::1:15010", "a b:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--discovery-address"):
        split_address(text, "--discovery-address")
