"""What the joined view costs, and how it settles disagreement."""

import pytest
import structlog

from isthmus.clusters.parts import ServicePort
from isthmus.clusters.view import JoinedView
from isthmus.model.service import ClusterId, Kind, Network, Port, PortConflict, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import Locality, WorkloadKey
from tests.clusters.building import EAST, ECHO, WEST, backend, named, pod, service, slice_of


def port(protocol: Protocol, name: str = "") -> ServicePort:
    return ServicePort(80, name, protocol, 8080)


def view_of(*parts: tuple[ClusterId, ServicePort]) -> JoinedView:
    view = JoinedView({})
    stores = {cluster: view.new_store(cluster) for cluster, _ in parts}
    for cluster, declared in parts:
        stores[cluster].put_service(service("echo", declared, address=f"10.0.0.{len(cluster)}"))
    view.hold(stores)
    return view


@pytest.mark.parametrize(("clusters", "services"), [(2, 5), (20, 50)])
def test_an_endpoint_change_derives_one_service_of_one_cluster_however_many_there_are(
    clusters: int, services: int
):
    view = JoinedView({})
    names = [ClusterId(f"c{index}") for index in range(clusters)]
    stores = {name: view.new_store(name) for name in names}
    for (at, store), index in ((pair, i) for pair in enumerate(stores.values()) for i in range(services)):
        store.put_service(service(f"s{index}"))
        store.put_slice(named(f"s{index}"), slice_of(f"s{index}", backend(f"10.{at}.{index}.1", f"p{index}")))
    view.hold(stores)
    for key in view.services():
        view.service(key)
        view.groups(key)
    derivations = view.derivations
    before = (derivations.services, derivations.endpoints, derivations.cluster_endpoints)
    store = stores[names[0]]
    told: list[Changes] = []
    with view.subscribe(told.append):
        view.changed(store, store.put_slice(named("s3"), slice_of("s3", backend("10.9.9.9"))))
    for key in view.services():
        view.service(key)
        view.groups(key)
    after = (derivations.services, derivations.endpoints, derivations.cluster_endpoints)
    assert told == [Changes(endpoints=frozenset({ServiceKey("demo", "s3")}))]
    assert [b - a for a, b in zip(before, after, strict=True)] == [0, 1, 1]


def test_ports_are_united_by_number_and_named_by_the_first_cluster():
    view = JoinedView({})
    west, east = view.new_store(WEST), view.new_store(EAST)
    west.put_service(service("echo", port(Protocol.HTTP, "http"), address="10.1.0.1"))
    east.put_service(
        service(
            "echo",
            port(Protocol.SNIFFED, "web"),
            ServicePort(90, "tcp", Protocol.TCP, 90),
            address="10.2.0.1",
        )
    )
    view.hold({WEST: west, EAST: east})
    merged = view.service(ECHO)
    assert merged is not None
    assert merged.ports == (Port(80, "web", Protocol.HTTP), Port(90, "tcp", Protocol.TCP))
    assert merged.addresses == {EAST: ("10.2.0.1",), WEST: ("10.1.0.1",)}
    assert (merged.clusters, merged.conflicts) == (frozenset({EAST, WEST}), ())


def test_a_port_is_one_whatever_each_cluster_calls_it_and_wherever_its_pods_listen():
    view = JoinedView({})
    west, east = view.new_store(WEST), view.new_store(EAST)
    west.put_service(service("echo", ServicePort(80, "http", Protocol.HTTP, "web"), address="10.1.0.1"))
    east.put_service(service("echo", ServicePort(80, "http-web", Protocol.HTTP, 9090), address="10.2.0.1"))
    west.put_slice(named("a"), slice_of("echo", backend("10.1.0.9"), ports=(("http", 8080), ("other", 1))))
    east.put_slice(named("b"), slice_of("echo", backend("10.2.0.9"), ports=(("http-web", 9090),)))
    view.hold({WEST: west, EAST: east})
    found = view.endpoints(ECHO)
    assert list(found) == [80]
    assert {(each.cluster, each.address, each.port) for each in found[80]} == {
        (WEST, "10.1.0.9", 8080),
        (EAST, "10.2.0.9", 9090),
    }


def test_the_first_cluster_by_name_that_declares_a_protocol_decides_a_conflict_logged_once():
    first, silent = ClusterId("alpha"), ClusterId("aaa")
    with structlog.testing.capture_logs() as logs:
        view = view_of(
            (WEST, port(Protocol.TCP)), (first, port(Protocol.HTTP)), (silent, port(Protocol.SNIFFED))
        )
        merged = view.service(ECHO)
        assert merged is not None
        declared = {first: Protocol.HTTP, WEST: Protocol.TCP}
        assert merged.conflicts == (PortConflict(80, Protocol.HTTP, declared),)
        view.service(ECHO)
    assert [line["event"] for line in logs] == ["clusters disagree on a port's protocol"]


def test_an_undeclared_port_is_sniffed_unless_servers_speak_first_there():
    merged = view_of((WEST, port(Protocol.SNIFFED))).service(ECHO)
    mysql = view_of((WEST, ServicePort(3306, "", Protocol.SNIFFED, 3306))).service(ECHO)
    assert merged is not None
    assert mysql is not None
    assert (merged.ports[0].protocol, mysql.ports[0].protocol) == (Protocol.SNIFFED, Protocol.TCP)


def test_a_service_is_gone_with_its_last_cluster():
    view = view_of((WEST, port(Protocol.HTTP)))
    assert list(view.services()) == [ECHO]
    view.hold({})
    assert list(view.services()) == []
    assert view.service(ECHO) is None
    assert view.endpoints(ECHO) == {}


@pytest.mark.parametrize(
    ("in_east", "in_west", "merged"),
    [
        (Kind.EXTERNAL_NAME, Kind.CLUSTER_IP, Kind.EXTERNAL_NAME),
        (Kind.CLUSTER_IP, Kind.HEADLESS, Kind.CLUSTER_IP),
        (Kind.HEADLESS, Kind.CLUSTER_IP, Kind.CLUSTER_IP),
        (Kind.HEADLESS, Kind.EXTERNAL_NAME, Kind.HEADLESS),
    ],
)
def test_the_first_cluster_decides_the_kind_but_an_address_anywhere_counts_more_than_none(
    in_east: Kind, in_west: Kind, merged: Kind
):
    view = JoinedView({})
    west, east = view.new_store(WEST), view.new_store(EAST)
    west.put_service(service(kind=in_west))
    east.put_service(service(kind=in_east))
    view.hold({WEST: west, EAST: east})
    found = view.service(ECHO)
    assert found is not None
    assert found.kind is merged


def test_a_store_that_is_being_filled_tells_nobody():
    view = JoinedView({})
    store = view.new_store(WEST)
    told: list[Changes] = []
    with view.subscribe(told.append):
        view.changed(store, store.put_service(service()))
        assert told == []
        assert view.service(ECHO) is None
        view.hold({WEST: store})
        view.hold({WEST: store})
        assert len(told) == 1
    view.changed(store, store.put_pod(pod("a")))
    assert len(told) == 1
    assert view.workload(WorkloadKey(WEST, "demo", "a")) is not None


def test_a_clusters_network_is_its_own_label_before_the_mesh_configs():
    view = JoinedView({WEST: Network("configured")})
    assert view.placement(WEST) == ("configured", Locality())
    assert view.placement(EAST) == ("", Locality())
    store = view.new_store(WEST)
    view.hold({WEST: store})
    assert view.placement(WEST)[0] == "configured"
    store.put_network(Network("labelled"))
    assert view.placement(WEST)[0] == "labelled"
