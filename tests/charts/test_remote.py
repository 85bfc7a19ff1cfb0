"""The chart of a remote cluster: what its three addresses may be, and what they become."""

import pytest

from isthmus.config.proxy import DEFAULT_DISCOVERY_ADDRESS
from tests.charts.rendering import REMOTE, Object, manifest, names, one, refusal, render

SETTINGS = {
    "pilotEndpoint": "istio-pilot",
    "policyEndpoint": "istio-policy",
    "statsdEndpoint": "istio-statsd-prom-bridge",
}
endpoint = pytest.mark.parametrize(("setting", "name"), SETTINGS.items())


def addresses_of(endpoints: Object) -> list[str]:
    (subset,) = endpoints["subsets"]
    return [address["ip"] for address in subset["addresses"]]


@endpoint
def test_default_gives_a_headless_service_alone(setting: str, name: str) -> None:
    objects = render(REMOTE)
    assert names(objects, "Endpoints") == set()
    spec = one(objects, "Service", name)["spec"]
    assert spec["clusterIP"] == "None"
    assert "selector" not in spec


@endpoint
def test_one_address_gives_a_headless_service_with_endpoints(setting: str, name: str) -> None:
    objects = render(REMOTE, f"global.{setting}=10.1.0.5", namespace="mesh")
    assert names(objects, "Endpoints") == {name}
    assert names(objects, "EndpointSlice") == set()
    service, endpoints = one(objects, "Service", name), one(objects, "Endpoints", name)
    assert service["spec"]["clusterIP"] == "None"
    assert "selector" not in service["spec"]
    assert addresses_of(endpoints) == ["10.1.0.5"]
    assert endpoints["subsets"][0]["ports"] == service["spec"]["ports"]
    assert endpoints["metadata"]["namespace"] == service["metadata"]["namespace"] == "mesh"


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        (r"10.1.0.5\,10.1.0.6", ["10.1.0.5", "10.1.0.6"]),
        (r" 10.1.0.5 \, 10.1.0.6 ", ["10.1.0.5", "10.1.0.6"]),
        ("{10.1.0.5,10.1.0.6}", ["10.1.0.5", "10.1.0.6"]),
        (r"10.1.0.5\,10.1.0.5", ["10.1.0.5"]),
        ("fd00::5", ["fd00::5"]),
        ("FD00:0:0:0:0:0:0:5", ["fd00:0:0:0:0:0:0:5"]),
        ("2001:db8::", ["2001:db8::"]),
        (r"10.1.0.5\,fd00::5", ["10.1.0.5", "fd00::5"]),
        ("255.255.255.254", ["255.255.255.254"]),
        ("10.0.0.0", ["10.0.0.0"]),
    ],
)
def test_addresses_may_be_several_and_of_both_families(value: str, addresses: list[str]) -> None:
    objects = render(REMOTE, f"global.pilotEndpoint={value}")
    assert addresses_of(one(objects, "Endpoints", "istio-pilot")) == addresses


@pytest.mark.parametrize("value", ["pilot.example.com", "Pilot.Example.COM.", "istio-pilot.elsewhere.svc"])
def test_dns_name_gives_an_external_name(value: str) -> None:
    objects = render(REMOTE, f"global.pilotEndpoint={value}")
    spec = one(objects, "Service", "istio-pilot")["spec"]
    assert spec["type"] == "ExternalName"
    assert spec["externalName"] == value.lower().rstrip(".")
    assert "clusterIP" not in spec
    assert names(objects, "Endpoints") == set()


@pytest.mark.parametrize("suffix", ["", ".svc", ".svc.cluster.local"])
def test_name_of_the_service_itself_is_like_the_default(suffix: str) -> None:
    setting = f"global.pilotEndpoint=istio-pilot.mesh{suffix}"
    assert manifest(REMOTE, setting, namespace="mesh") == manifest(REMOTE, namespace="mesh")


@endpoint
def test_nonsense_is_refused_with_the_forms_that_are_accepted(setting: str, name: str) -> None:
    said = refusal(REMOTE, f"global.{setting}=10.0.0")
    assert f'global.{setting} is "10.0.0", which is no address' in said
    assert "one IP address (10.1.0.5), several separated by commas" in said
    assert f"leave it out for {name}.istio-system" in said


@pytest.mark.parametrize(
    "value",
    [
        "1.2.3.4.5",
        "10.0.0.256",
        "010.0.0.1",
        "10",
        "foo bar",
        "localhost",
        "-a.example",
        "a..example",
        "10.0.0.1:15010",
        "10.0.0.1/32",
        "http://10.0.0.1",
        r"10.0.0.1\,",
        r"10.0.0.1\,pilot.example.com",
        r"a.example.com\,b.example.com",
        "[fd00::5]",
        "1::2::3",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7::8",
        "12345::1",
    ],
)
def test_what_is_neither_address_nor_name_is_refused(value: str) -> None:
    said = refusal(REMOTE, f"global.pilotEndpoint={value}")
    assert f'global.pilotEndpoint is "{value.replace(chr(92), "")}", which is no address' in said


@pytest.mark.parametrize(
    "value", ["127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.5", "::", "::1", "fe80::1"]
)
def test_addresses_that_kubernetes_refuses_are_refused_before(value: str) -> None:
    assert "is no address" in refusal(REMOTE, f"global.pilotEndpoint={value}")


@pytest.mark.parametrize("value", ["", "null", "{}", " "])
def test_empty_address_is_refused_with_its_likely_cause(value: str) -> None:
    said = refusal(REMOTE, f"global.pilotEndpoint={value}")
    assert "global.pilotEndpoint is empty, perhaps because no such pod runs" in said


def test_sidecars_find_pilot_by_the_name_that_they_are_told() -> None:
    host = DEFAULT_DISCOVERY_ADDRESS.partition(":")[0]
    assert host == "istio-pilot.istio-system.svc"
    assert 15010 in {port["port"] for port in one(render(REMOTE), "Service", "istio-pilot")["spec"]["ports"]}


def test_defaults_are_the_guides() -> None:
    for setting, name in SETTINGS.items():
        assert manifest(REMOTE, f"global.{setting}={name}.istio-system") == manifest(REMOTE)


def test_mistaken_values_are_refused_by_their_path() -> None:
    assert "/global" in refusal(REMOTE, "global.pilotEndpont=10.1.0.5")
    assert "/rights/heal" in refusal(REMOTE, "rights.heal=sometimes")
