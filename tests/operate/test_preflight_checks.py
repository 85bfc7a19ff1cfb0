"""The preflight's checks, on facts alone."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from isthmus.lib.errors import UserError
from isthmus.operate.preflight.checks import check
from isthmus.operate.preflight.facts import Addresses, ClusterFacts, Helm, Probes, Range, Reach
from isthmus.operate.preflight.findings import Finding, Level
from isthmus.operate.preflight.ranges import given_ranges, kubeadm_ranges, node_ranges, refused_range

HELM = Helm("v3.17.0")
UNTRIED = Probes(skipped="not asked for")


def addresses(*cidrs: str, used: tuple[str, ...] = ()) -> Addresses:
    return Addresses(
        tuple(Range(ip_network(one), "test") for one in cidrs), frozenset(ip_address(one) for one in used)
    )


WEST = ClusterFacts(
    "west",
    "https://10.0.0.1",
    version="v1.30.1",
    identity="a",
    slices="discovery.k8s.io/v1",
    skew=0.2,
    pods=addresses("10.1.0.0/16"),
    services=addresses("10.96.0.0/16"),
)
EAST = replace(
    WEST, name="east", identity="b", pods=addresses("10.2.0.0/16"), services=addresses("10.97.0.0/16")
)


def found(
    west: ClusterFacts = WEST, east: ClusterFacts = EAST, probes: Probes = UNTRIED, helm: Helm = HELM
) -> list[Finding]:
    """What is neither fine nor skipped."""
    return [
        one for one in check([west, east], "west", probes, helm) if one.level in (Level.WARNING, Level.ERROR)
    ]


def test_two_good_clusters_have_no_finding_but_what_was_not_tried() -> None:
    assert found() == []
    skipped = [one.id for one in check([WEST, EAST], "west", UNTRIED, HELM) if one.level is Level.SKIPPED]
    assert skipped == ["api-routable", "pods-routable"]


@pytest.mark.parametrize(
    ("west", "east", "expected"),
    [
        (WEST, replace(EAST, name="west"), ("name-unique", Level.ERROR)),
        (WEST, replace(EAST, name="East.example"), ("name-valid", Level.WARNING)),
        (WEST, replace(EAST, trouble="no connection"), ("reachable", Level.ERROR)),
        (WEST, replace(EAST, version="v1.7.2"), ("version", Level.ERROR)),
        (WEST, replace(EAST, version="v1.7.3"), ("version", Level.WARNING)),
        (WEST, replace(EAST, version=""), ("version", Level.ERROR)),
        (WEST, replace(EAST, identity="a"), ("identity", Level.ERROR)),
        (WEST, replace(EAST, slices=""), ("endpoint-slices", Level.WARNING)),
        (WEST, replace(EAST, unread=("pods: forbidden",)), ("unread", Level.WARNING)),
        (WEST, replace(EAST, pods=addresses("10.1.128.0/17")), ("cidr-disjoint", Level.ERROR)),
        (WEST, replace(EAST, services=addresses("10.96.0.0/12")), ("cidr-disjoint", Level.ERROR)),
        (WEST, replace(EAST, services=addresses("10.1.0.0/24")), ("cidr-disjoint", Level.ERROR)),
        (
            WEST,
            replace(EAST, pods=addresses("10.2.0.0/16", used=("10.2.0.9", "10.96.0.9"))),
            ("cidr-disjoint", Level.ERROR),
        ),
        (WEST, replace(EAST, pods=addresses("10.2.0.0/16", used=("10.3.0.9",))), ("pod-cidr", Level.WARNING)),
        (WEST, replace(EAST, pods=addresses()), ("pod-cidr", Level.WARNING)),
        (WEST, replace(EAST, services=addresses()), ("service-cidr", Level.WARNING)),
        (WEST, replace(EAST, services=addresses("10.2.8.0/24")), ("cidr-own", Level.ERROR)),
        (WEST, replace(EAST, missing_rights={"read": ("list pods",)}), ("rights", Level.ERROR)),
        (WEST, replace(EAST, missing_rights={"heal": ("create endpoints",)}), ("rights", Level.WARNING)),
        (WEST, replace(EAST, missing_rights={"join": ("create roles",)}), ("rights", Level.ERROR)),
    ],
)
def test_what_is_wrong_is_found_and_says_why_and_what_to_do(
    west: ClusterFacts, east: ClusterFacts, expected: tuple[str, Level]
) -> None:
    findings = found(west, east)
    assert expected in [(one.id, one.level) for one in findings]
    assert all(one.why and one.remedy and one.clusters for one in findings)


def test_addresses_of_two_families_never_clash() -> None:
    assert found(east=replace(EAST, pods=addresses("fd00::/48"), services=addresses("fd01::/108"))) == []


@pytest.mark.parametrize(("skew", "level"), [(7.0, Level.WARNING), (-90.0, Level.ERROR)])
def test_a_clock_that_is_wrong_is_found_by_itself_and_between_clusters(skew: float, level: Level) -> None:
    findings = found(east=replace(EAST, skew=skew))
    assert [(one.id, one.level) for one in findings] == [("clock", level), ("clock-between", level)]


@pytest.mark.parametrize(
    ("helm", "level"),
    [(Helm("v2.7.1"), Level.ERROR), (Helm(trouble="not there"), Level.WARNING)],
)
def test_helm_must_be_there_and_new_enough(helm: Helm, level: Level) -> None:
    assert [(one.id, one.level) for one in found(helm=helm)] == [("helm", level)]


@pytest.mark.parametrize("version", ["v2.7.2+g8478fb4", "v4.0.1+g1", "v3.1.2"])
def test_every_helm_from_2_7_2_on_will_do(version: str) -> None:
    assert found(helm=Helm(version)) == []


def test_a_route_that_is_missing_is_an_error_and_one_that_works_is_not() -> None:
    probes = Probes(
        (
            Reach("west", "east", "pod", "10.2.0.9:18080", "timed out"),
            Reach("west", "east", "api", "10.0.0.2:6443", "Connection refused"),
            Reach("east", "west", "pod", "10.1.0.9:18080"),
        )
    )
    findings = found(probes=probes)
    assert [one.id for one in findings] == ["pods-routable", "api-routable"]
    assert "10.2.0.9:18080: timed out" in findings[0].what


def test_kubeadm_says_both_ranges() -> None:
    text = "networking:\n  podSubnet: 10.1.0.0/16,fd00::/48\n  serviceSubnet: 10.96.0.0/12\n"
    pods, services = kubeadm_ranges({"ClusterConfiguration": text})
    assert [str(one) for one in (*pods, *services)] == [
        "10.1.0.0/16 (kubeadm-config)",
        "fd00::/48 (kubeadm-config)",
        "10.96.0.0/12 (kubeadm-config)",
    ]


@pytest.mark.parametrize("text", ["", "[" * 100_000, "networking: 1", "- a", "networking: {podSubnet: null}"])
def test_a_kubeadm_configuration_that_says_nothing_says_no_range(text: str) -> None:
    assert kubeadm_ranges({"ClusterConfiguration": text}) == ((), ())


def test_neighbouring_nodes_make_one_range() -> None:
    nodes = [{"spec": {"podCIDR": "10.1.0.0/24"}}, {"spec": {"podCIDRs": ["10.1.1.0/24"]}}, {}]
    assert [str(one.network) for one in node_ranges(nodes)] == ["10.1.0.0/23"]


def test_the_range_that_an_api_server_names_is_read() -> None:
    message = 'Service "x" is invalid: not in the valid range. The range of valid IPs is 10.96.0.0/12'
    assert [str(one.network) for one in refused_range(message)] == ["10.96.0.0/12"]
    assert refused_range("no") == ()


@pytest.mark.parametrize("text", ["10.0.0.0/8", "north=10.0.0.0/8", "east=10.0.0.1/8", "east=x"])
def test_a_range_that_is_given_wrongly_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--pod-cidr"):
        given_ranges([text], "--pod-cidr", ["east"])
