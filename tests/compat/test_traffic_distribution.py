"""Services whose clients prefer endpoints of their own zone (Kubernetes: `trafficDistribution`)."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from isthmus.clusters.intake import Intake
from isthmus.clusters.join import merge_service
from isthmus.clusters.reading import read_service
from isthmus.clusters.service_annotations import meaningless_annotations
from isthmus.clusters.view import JoinedView
from isthmus.config.mesh import MeshConfig
from isthmus.kube import objects
from isthmus.kube.watch import Upserted
from isthmus.model.resources import CLUSTER, ENDPOINT, Scope
from isthmus.model.service import Network, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import Endpoint, Locality
from isthmus.translate.catalogue import Catalogue
from tests.translate.fake_view import EAST, WEST, FakeView, endpoint, pod, proxy, service

ECHO = ServiceKey("demo", "echo")
NAME = "outbound|80||echo.demo.svc.cluster.local"
Assigned = list[tuple[int, str, list[str]]]


def echo(distribution: str = "", annotation: str = "", address: str = "10.1.0.1") -> objects.Service:
    annotations = {"networking.istio.io/traffic-distribution": annotation}
    metadata = {"name": "echo", "namespace": "demo", "annotations": annotations}
    spec = {"clusterIP": address, "ports": [{"port": 80}], "trafficDistribution": distribution}
    return msgspec.convert({"metadata": metadata, "spec": spec}, objects.Service)


@pytest.mark.parametrize(
    ("distribution", "annotation", "wanted"),
    [
        ("", "", False),
        ("PreferClose", "", True),
        ("PreferSameZone", "", True),
        ("PreferSameNode", "", True),
        ("Somewhere", "", False),
        ("", "preferclose", True),
        ("", "PreferSameZone", True),
        ("", "Near", False),
    ],
)
def test_the_field_and_istios_annotation_are_read(distribution: str, annotation: str, wanted: bool) -> None:
    found = echo(distribution, annotation)
    part = read_service(found)
    assert part.same_zone is wanted
    assert merge_service(ECHO, {WEST: part}).same_zone is wanted
    assert not read_service(echo(distribution, annotation, "None")).same_zone, "its clients choose themselves"
    told = [each.reason for each in meaningless_annotations(found.metadata)]
    assert told == (
        [
            "metadata.annotations[\"networking.istio.io/traffic-distribution\"]: 'near' is none of "
            "PreferSameZone, PreferClose, PreferSameNode; endpoints are used wherever they are"
        ]
        if annotation == "Near"
        else []
    )


def test_a_service_that_begins_to_prefer_zones_is_a_change() -> None:
    view, told = JoinedView({}), list[Changes]()
    intake = Intake(view.new_store(WEST), control_namespace="istio-system", changed=view.changed)
    view.hold({WEST: intake.store})
    intake.service(Upserted(echo()))
    with view.subscribe(told.append):
        intake.service(Upserted(echo("PreferClose")))
    assert told == [Changes(services=frozenset({ECHO}))]


def assigned(scopes: Sequence[Scope]) -> Assigned:
    """Priority, locality and addresses, as Envoy is told."""
    [found] = [one for scope in scopes if (one := scope.get(ENDPOINT, NAME)) is not None]
    return [
        (
            each.priority,
            f"{each.locality.region}/{each.locality.zone}",
            [one.endpoint.address.socket_address.address for one in each.lb_endpoints],
        )
        for each in ClusterLoadAssignment.FromString(found.body).endpoints
    ]


def placed(address: str, region: str, zone: str, **more: object) -> Endpoint:
    return msgspec.structs.replace(endpoint(address), locality=Locality(region, zone), **more)


def mesh() -> tuple[FakeView, Catalogue, dict[str, Sequence[Scope]]]:
    """Endpoints in three zones, in another region, and in another network; a client in each of two zones."""
    view = FakeView()
    far = Network("far")
    view.put(
        replace(service("echo", (80, Protocol.HTTP), west="10.1.0.1"), same_zone=True),
        placed("10.0.1.1", "r1", "z1"),
        placed("10.0.2.1", "r1", "z2"),
        placed("10.0.3.1", "r2", "z3"),
        placed("10.0.1.9", "r1", "z1", cluster=EAST, network=far),
    )
    for number in (1, 2, 3):
        zone = min(number, 2)
        client = replace(pod(f"c{number}", f"10.9.0.{number}"), locality=Locality("r1", f"z{zone}"))
        view.pods[client.key] = client
    catalogue = Catalogue(view, MeshConfig())
    scopes = {f"c{n}": catalogue.scopes(proxy(f"c{n}", f"10.9.0.{n}")) for n in (1, 2, 3)}
    return view, catalogue, scopes


def test_the_own_zone_serves_first_then_the_region_the_network_and_other_networks() -> None:
    view, catalogue, scopes = mesh()
    assert assigned(scopes["c1"]) == [
        (0, "r1/z1", ["10.0.1.1"]),
        (1, "r1/z2", ["10.0.2.1"]),
        (2, "r2/z3", ["10.0.3.1"]),
        (3, "r1/z1", ["10.0.1.9"]),
    ]
    assert [each[:2] for each in assigned(scopes["c2"])] == [
        (0, "r1/z2"),
        (1, "r1/z1"),
        (2, "r2/z3"),
        (3, "r1/z1"),
    ]
    assert scopes["c2"] is scopes["c3"], "proxies of one zone share what they see"
    others = [one for one in scopes["c1"] if one not in scopes["c2"]]
    assert [tuple(one.types) for one in others] == [(ENDPOINT,)]
    stranger = catalogue.scopes(proxy("nobody", "10.9.0.99"))
    assert [each[0] for each in assigned(stranger)] == [0, 0, 0, 1], "who is nowhere prefers a network"

    stale = msgspec.structs.replace(placed("10.0.1.2", "r1", "z1"), priority=1)
    view.backing[ECHO][80] = [placed("10.0.3.1", "r2", "z3"), stale]
    told = catalogue.apply(Changes(endpoints=frozenset({ECHO})))
    assert {name for one in told for name in one.names[ENDPOINT]} == {NAME}
    assert assigned(scopes["c1"]) == [(0, "r2/z3", ["10.0.3.1"]), (1, "r1/z1", ["10.0.1.2"])], (
        "what is stale comes after all that is not"
    )


def test_only_with_such_a_service_are_zones_told_apart() -> None:
    view, catalogue, held = mesh()
    everybody = {proxy(f"c{n}", f"10.9.0.{n}").node_id for n in (1, 2, 3)}

    def turn(same_zone: bool) -> set[str]:
        view.known[ECHO] = replace(view.known[ECHO], same_zone=same_zone)
        changes = Changes(services=frozenset({ECHO}))
        before = held["c1"][0].get(CLUSTER, NAME)
        catalogue.apply(changes)
        assert held["c1"][0].get(CLUSTER, NAME) is before, "its cluster is as it was"
        return catalogue.rescoped(changes)

    assert turn(False) == everybody
    first, second = (catalogue.scopes(proxy(f"c{n}", f"10.9.0.{n}")) for n in (1, 2))
    assert first is second
    assert {each[0] for each in assigned(first)} == {0}
    assert turn(True) == {one for one in everybody if "c3" not in one}, "who has not asked since is not named"
