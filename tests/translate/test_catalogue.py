import gc
from collections.abc import Sequence
from dataclasses import replace

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from msgspec import structs

from isthmus.config.accepted_tls import PeerAuthentications
from isthmus.config.mesh import MeshConfig
from isthmus.config.peer_authentication import PEER_AUTHENTICATION
from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref
from isthmus.model.identity import Identity
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Scope, ScopeChange
from isthmus.model.service import Kind, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import InboundPort
from isthmus.translate.catalogue import Catalogue
from tests.translate.fake_view import EAST, WEST, FakeView, endpoint, pod, proxy, service

ECHO = ServiceKey("demo", "echo")
CALLER = pod("client", "10.0.0.9", tls=True)
ECHO_CLUSTER = "outbound|80||echo.demo.svc.cluster.local"


@pytest.fixture
def view() -> FakeView:
    view = FakeView()
    view.put(service("echo", (80, Protocol.HTTP), west="10.1.0.1", east="10.2.0.1"), endpoint("10.0.0.1"))
    view.put(service("db", (5432, Protocol.TCP), west="10.1.0.2"), endpoint("10.0.0.2", port=5432))
    return view


def find(scopes: Sequence[Scope], type_url: str, name: str) -> Resource | None:
    found = [r for r in (scope.get(type_url, name) for scope in scopes) if r is not None]
    assert len(found) <= 1, "two scopes hold one name"
    return found[0] if found else None


def body(scopes: Sequence[Scope], type_url: str, name: str) -> bytes:
    found = find(scopes, type_url, name)
    assert found is not None, f"no {name}"
    return found.body


def named(scopes: Sequence[Scope], type_url: str) -> set[str]:
    return {resource.name for scope in scopes for resource in scope.all(type_url)}


def touched(changes: Sequence[ScopeChange], type_url: str) -> set[str]:
    return {name for change in changes for name in change.names.get(type_url, ())}


def everything(scopes: Sequence[Scope]) -> list[Resource]:
    types = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
    return [resource for type_url in types for scope in scopes for resource in scope.all(type_url)]


def test_a_proxy_sees_istios_names(view: FakeView) -> None:
    scopes = Catalogue(view, MeshConfig()).scopes(proxy("client"))
    assert named(scopes, CLUSTER) == {
        "BlackHoleCluster",
        "InboundPassthroughCluster",
        "PassthroughCluster",
        ECHO_CLUSTER,
        "outbound|5432||db.demo.svc.cluster.local",
    }
    assert named(scopes, ENDPOINT) == {ECHO_CLUSTER, "outbound|5432||db.demo.svc.cluster.local"}
    assert named(scopes, LISTENER) == {"virtualOutbound", "virtualInbound", "0.0.0.0_80", "10.1.0.2_5432"}
    assert named(scopes, ROUTE) == {"80"}


def test_proxies_alike_share_their_scopes(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig())
    first, second = catalogue.scopes(proxy("a")), catalogue.scopes(proxy("b"))
    assert first == second
    elsewhere = catalogue.scopes(proxy("c", cluster=EAST, namespace="other"))
    shared = [scope for scope in elsewhere if scope in first]
    assert {type_url for scope in shared for type_url in (CLUSTER, ENDPOINT) if scope.all(type_url)} == {
        CLUSTER,
        ENDPOINT,
    }


def test_a_proxy_without_a_cluster_is_in_the_control_planes_own(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig(), home=WEST)
    scopes = catalogue.scopes(proxy("client"))
    assert catalogue.scopes(proxy("client", cluster=type(WEST)(""))) == scopes


def test_all_is_sorted_and_the_same_object_until_something_changes(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig())
    scope = catalogue.scopes(proxy("client"))[1]
    before = scope.all(ENDPOINT)
    assert [r.name for r in before] == sorted(r.name for r in before)
    assert scope.all(ENDPOINT) is before
    view.backing[ECHO][80] = [endpoint("10.0.0.3")]
    catalogue.apply(Changes(endpoints=frozenset({ECHO})))
    assert scope.all(ENDPOINT) is not before


@pytest.mark.parametrize(("services", "clusters", "proxies"), [(2, 1, 1), (200, 20, 200)])
def test_one_endpoint_change_derives_and_serialises_one_assignment(
    services: int, clusters: int, proxies: int
) -> None:
    view = FakeView()
    for i in range(services):
        view.put(service(f"s{i}", (80, Protocol.HTTP), west=f"10.1.{i}.1"), endpoint(f"10.0.{i}.1"))
    catalogue = Catalogue(view, MeshConfig())
    held = [
        catalogue.scopes(proxy(f"p{i}", cluster=type(WEST)(f"c{i % clusters}"), namespace=f"n{i % 3}"))
        for i in range(proxies)
    ]
    for scopes in held:
        everything(scopes)
    derived, serialised, reads = catalogue.counters.derivations, catalogue.counters.serialisations, view.reads

    key = ServiceKey("demo", "s1")
    view.backing[key][80] = [endpoint("10.0.1.1"), endpoint("10.0.1.2")]
    changes = catalogue.apply(Changes(endpoints=frozenset({key})))
    assert (catalogue.counters.derivations, view.reads) == (derived, reads), "apply derives nothing"
    assert [change.names for change in changes] == [
        {ENDPOINT: frozenset({"outbound|80||s1.demo.svc.cluster.local"})}
    ]
    for _ in held:
        changes[0].scope.get(ENDPOINT, "outbound|80||s1.demo.svc.cluster.local")
    assert catalogue.counters.derivations - derived == 1
    assert catalogue.counters.serialisations - serialised == 1
    assert view.reads - reads == 1


def test_a_change_that_changes_nothing_keeps_the_resource(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig())
    scope = catalogue.scopes(proxy("client"))[1]
    before = scope.get(ENDPOINT, ECHO_CLUSTER)
    catalogue.apply(Changes(endpoints=frozenset({ECHO})))
    assert scope.get(ENDPOINT, ECHO_CLUSTER) is before
    catalogue.apply(Changes(services=frozenset({ECHO}), endpoints=frozenset({ECHO})))
    assert scope.get(ENDPOINT, ECHO_CLUSTER) is before


def test_equal_content_has_an_equal_version_in_every_process(view: FakeView) -> None:
    versions = [
        {r.name: r.version for r in everything(Catalogue(view, MeshConfig()).scopes(proxy("client")))}
        for _ in range(2)
    ]
    assert versions[0] == versions[1]


def test_a_removed_service_is_named_and_gone(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig())
    scopes = catalogue.scopes(proxy("client"))
    everything(scopes)
    key = ServiceKey("demo", "db")
    del view.known[key], view.backing[key]
    changes = catalogue.apply(Changes(services=frozenset({key})))
    assert (
        touched(changes, CLUSTER)
        == touched(changes, ENDPOINT)
        == {"outbound|5432||db.demo.svc.cluster.local"}
    )
    assert touched(changes, LISTENER) == {"10.1.0.2_5432"}
    assert touched(changes, ROUTE) == set()
    assert find(scopes, LISTENER, "10.1.0.2_5432") is None
    assert find(scopes, ENDPOINT, "outbound|5432||db.demo.svc.cluster.local") is None
    assert "10.1.0.2_5432" not in named(scopes, LISTENER)


def test_an_added_service_on_a_shared_port_touches_its_routes_and_not_the_listener(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig())
    scopes = catalogue.scopes(proxy("client"))
    everything(scopes)
    key = view.put(service("second", (80, Protocol.HTTP), west="10.1.0.3"), endpoint("10.0.0.7"))
    changes = catalogue.apply(Changes(services=frozenset({key}), endpoints=frozenset({key})))
    assert touched(changes, CLUSTER) == {"outbound|80||second.demo.svc.cluster.local"}
    assert touched(changes, LISTENER) == set()
    assert touched(changes, ROUTE) == {"80"}
    routes = route_pb2.RouteConfiguration.FromString(body(scopes, ROUTE, "80"))
    assert [host.name.split(".")[0] for host in routes.virtual_hosts] == ["echo", "second", "allow_any"]


def test_a_shape_change_serialises_no_other_services_virtual_host() -> None:
    view = FakeView()
    for i in range(500):
        view.put(service(f"s{i}", (80, Protocol.HTTP), west=f"10.1.{i // 250}.{i % 250}"))
    catalogue = Catalogue(view, MeshConfig())
    scopes = catalogue.scopes(proxy("client", namespace="other"))
    everything(scopes)
    serialised = catalogue.counters.serialisations
    key = view.put(service("s7", (80, Protocol.HTTP), west="10.9.9.9"))
    catalogue.apply(Changes(services=frozenset({key})))
    everything(scopes)
    # The route configuration, one virtual host, and the assignment, which is read anew with the shape.
    assert catalogue.counters.serialisations - serialised == 3


def test_a_changed_address_in_one_cluster_leaves_the_others_routes(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig())
    west, east = catalogue.scopes(proxy("a")), catalogue.scopes(proxy("b", cluster=EAST))
    everything(west)
    everything(east)
    view.put(service("echo", (80, Protocol.HTTP), west="10.1.0.9", east="10.2.0.1"), endpoint("10.0.0.1"))
    changes = catalogue.apply(Changes(services=frozenset({ECHO})))
    assert [change.scope for change in changes if ROUTE in change.names] == [west[3]]


def test_headless_endpoints_come_and_go_as_listeners(view: FakeView) -> None:
    key = view.put(
        service("kv", (6379, Protocol.TCP), kind=Kind.HEADLESS), endpoint("10.0.1.1"), endpoint("10.0.1.2")
    )
    catalogue = Catalogue(view, MeshConfig())
    scopes = catalogue.scopes(proxy("client"))
    assert {"10.0.1.1_6379", "10.0.1.2_6379"} <= named(scopes, LISTENER)
    assert "outbound|6379||kv.demo.svc.cluster.local" not in named(scopes, ENDPOINT)
    view.backing[key][6379] = [endpoint("10.0.1.2"), endpoint("10.0.1.3")]
    changes = catalogue.apply(Changes(endpoints=frozenset({key})))
    assert touched(changes, LISTENER) == {"10.0.1.1_6379", "10.0.1.3_6379"}
    assert touched(changes, ENDPOINT) == set()
    assert "10.0.1.1_6379" not in named(scopes, LISTENER)


def test_two_services_at_one_address_never_make_two_listeners_or_domains(view: FakeView) -> None:
    view.put(service("echo2", (80, Protocol.HTTP), west="10.1.0.1"))
    view.put(service("adb", (5432, Protocol.TCP), west="10.1.0.2"))
    scopes = Catalogue(view, MeshConfig()).scopes(proxy("client"))
    listener = listener_pb2.Listener.FromString(body(scopes, LISTENER, "10.1.0.2_5432"))
    assert b"outbound|5432||adb.demo" in listener.filter_chains[0].filters[0].typed_config.value
    routes = route_pb2.RouteConfiguration.FromString(body(scopes, ROUTE, "80"))
    domains = [domain for host in routes.virtual_hosts for domain in host.domains]
    assert len(domains) == len(set(domains))
    assert "10.1.0.1" in routes.virtual_hosts[0].domains


def test_scopes_are_forgotten_with_their_last_proxy(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig())
    scopes = catalogue.scopes(proxy("client"))
    everything(scopes)
    del scopes
    gc.collect()
    assert catalogue.apply(Changes(services=frozenset(view.known))) == []


def test_an_index_lives_as_long_as_a_scope_that_needs_it(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig())
    routes = catalogue.scopes(proxy("client"))[3]
    gc.collect()
    key = view.put(service("new", (80, Protocol.HTTP), west="10.1.0.8"))
    assert touched(catalogue.apply(Changes(services=frozenset({key}))), ROUTE) == {"80"}
    assert b"new.demo.svc" in routes.all(ROUTE)[0].body


def test_a_pod_that_appears_names_its_proxy_once(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig())
    early = proxy("server", "10.0.0.1")
    before = catalogue.scopes(early)
    assert named(before[4:], CLUSTER) == set()
    appeared = pod("server", "10.0.0.1")
    view.pods[appeared.key] = appeared
    view.selecting[appeared.key] = [InboundPort(ECHO, 80, 8080, "http", Protocol.HTTP)]
    changes = Changes(workloads=frozenset({appeared.key}))
    assert catalogue.rescoped(changes) == {early.node_id}
    after = catalogue.scopes(early)
    assert named(after[4:], CLUSTER) == {"inbound|8080||"}
    assert after[:4] == before[:4]
    assert catalogue.rescoped(Changes(workloads=frozenset({pod("other", "10.0.0.5").key}))) == set()


def test_a_pod_that_is_gone_leaves_its_proxy_as_it_is_until_it_comes_back(view: FakeView) -> None:
    known = pod("server", "10.0.0.1")
    view.pods[known.key] = known
    catalogue = Catalogue(view, MeshConfig())
    asking = proxy("server", "10.0.0.1")
    catalogue.scopes(asking)
    changes = Changes(workloads=frozenset({known.key}))
    del view.pods[known.key]
    assert catalogue.rescoped(changes) == set()
    view.pods[known.key] = known
    assert catalogue.rescoped(changes) == {asking.node_id}


def test_a_pod_known_only_by_its_address_is_found(view: FakeView) -> None:
    known = pod("server", "10.0.0.1")
    view.pods[known.key] = known
    view.selecting[known.key] = [InboundPort(ECHO, 80, 8080, "http", Protocol.HTTP)]
    catalogue = Catalogue(view, MeshConfig())
    other_name = proxy("another-name", "10.0.0.1")
    assert named(catalogue.scopes(other_name), CLUSTER) >= {"inbound|8080||"}
    assert catalogue.rescoped(Changes(workloads=frozenset({known.key}))) == {other_name.node_id}


def test_a_name_that_does_not_exist_is_none_and_is_not_remembered(view: FakeView) -> None:
    scopes = Catalogue(view, MeshConfig()).scopes(proxy("client"))
    for type_url in (CLUSTER, ENDPOINT, LISTENER, ROUTE, "type.googleapis.com/other"):
        assert find(scopes, type_url, "nothing") is None


def test_endpoints_of_a_new_service_arrive_with_its_shape(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig())
    scope = catalogue.scopes(proxy("client"))[1]
    key = view.put(service("new", (80, Protocol.HTTP), west="10.1.0.8"), endpoint("10.0.0.8"))
    changes = catalogue.apply(Changes(services=frozenset({key})))
    name = "outbound|80||new.demo.svc.cluster.local"
    assert touched(changes, ENDPOINT) == {name}
    assignment = endpoint_pb2.ClusterLoadAssignment.FromString(body([scope], ENDPOINT, name))
    assert len(assignment.endpoints[0].lb_endpoints) == 1


def test_a_change_of_endpoints_changes_clusters_only_if_the_accounts_behind_them_did(view: FakeView) -> None:
    catalogue = Catalogue(view, MeshConfig())
    scopes = catalogue.scopes(proxy("client"))
    everything(scopes)
    blue, green = pod("a", "10.0.0.1", account="blue"), pod("b", "10.0.0.2", account="green")
    view.backing[ECHO][80] = [endpoint("10.0.0.1", behind=blue)]
    only = frozenset({ECHO})
    assert touched(catalogue.apply(Changes(endpoints=only, accounts=only)), CLUSTER) == {ECHO_CLUSTER}
    view.backing[ECHO][80] = [endpoint("10.0.0.1", behind=blue), endpoint("10.0.0.2", behind=blue)]
    assert touched(catalogue.apply(Changes(endpoints=only)), CLUSTER) == set()
    view.backing[ECHO][80] = [endpoint("10.0.0.1", behind=blue), endpoint("10.0.0.2", behind=green)]
    changes = catalogue.apply(Changes(endpoints=only, accounts=only))
    assert (touched(changes, CLUSTER), touched(changes, ENDPOINT)) == ({ECHO_CLUSTER}, {ECHO_CLUSTER})
    plain = Catalogue(view, MeshConfig(enable_auto_mtls=False))
    held = plain.scopes(proxy("client"))
    assert touched(plain.apply(Changes(endpoints=only, accounts=only)), CLUSTER) == set(), held


def test_a_headless_service_is_called_by_mutual_tls_only_while_all_of_its_endpoints_take_it(
    view: FakeView,
) -> None:
    secured, plain = pod("a", "10.0.1.1", tls=True), pod("b", "10.0.1.2")
    kv = service("kv", (6379, Protocol.TCP), kind=Kind.HEADLESS)
    key = view.put(kv, endpoint("10.0.1.1", behind=secured))
    catalogue, name = Catalogue(view, MeshConfig()), "outbound|6379||kv.demo.svc.cluster.local"
    view.pods[CALLER.key] = CALLER
    scopes = catalogue.scopes(proxy("client"))
    only, found = frozenset({key}), list[tuple[bool, bool]]()
    for members in (
        [secured, secured],
        [secured, plain],
        [secured, None],
        [secured],
        [],
    ):
        view.put(kv, *(endpoint(f"10.0.1.{i}", behind=member) for i, member in enumerate(members)))
        changed = touched(catalogue.apply(Changes(endpoints=only)), CLUSTER) == {name}
        cluster = cluster_pb2.Cluster.FromString(body(scopes, CLUSTER, name))
        found.append((changed, cluster.HasField("transport_socket")))
    assert found == [(False, True), (True, False), (False, False), (True, True), (True, False)]
    awaited = structs.replace(endpoint("10.0.1.2"), awaited=True)
    view.put(kv, endpoint("10.0.1.1", behind=secured), awaited)
    catalogue.apply(Changes(endpoints=only))
    cluster = cluster_pb2.Cluster.FromString(body(scopes, CLUSTER, name))
    assert cluster.HasField("transport_socket"), "one whose pod is to come changes nothing"


def test_a_changed_policy_asks_anew_the_proxies_that_it_may_concern_and_only_those(view: FakeView) -> None:
    store = ConfigStore(PEER_AUTHENTICATION)
    catalogue = Catalogue(view, MeshConfig(), peers=PeerAuthentications("istio-system", store))
    inside, outside, unknown = proxy("a"), proxy("b", "10.0.0.8", namespace="q"), proxy("c", "10.0.0.7")
    for each in (inside, outside):
        known = pod(each.pod, each.address, namespace=each.namespace)
        view.pods[known.key] = known
    before = {each.node_id: catalogue.scopes(each) for each in (inside, outside, unknown)}
    ref = Ref("demo", "default")
    store.apply(ref, {"metadata": ref._asdict(), "spec": {"mtls": {"mode": "STRICT"}}})
    assert catalogue.rescoped_by(ref) == {inside.node_id, unknown.node_id}
    after = catalogue.scopes(inside)
    assert (after[:4] == before[inside.node_id][:4], after[4] == before[inside.node_id][4]) == (True, False)
    mesh = Ref("istio-system", "default")
    assert catalogue.rescoped_by(mesh) == {inside.node_id, outside.node_id}, "the other has not asked again"


def test_a_proxy_without_a_certificate_neither_asks_for_mutual_tls_nor_offers_it(view: FakeView) -> None:
    secured, plain = pod("a", "10.0.0.1", tls=True), pod("b", "10.0.0.2")
    for each in (secured, plain):
        view.pods[each.key] = each
    scopes = {
        name: Catalogue(view, MeshConfig()).scopes(proxy(name, address))
        for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2"), ("unknown", "10.0.0.3"))
    }
    proved = replace(proxy("proved", "10.0.0.4"), identity=Identity("cluster.local", "demo", "default"))
    scopes["proved"] = Catalogue(view, MeshConfig()).scopes(proved)
    assert {
        name: [
            b"sds-grpc" in body(own, CLUSTER, ECHO_CLUSTER),
            b"sds-grpc" in body(own, LISTENER, "virtualInbound"),
        ]
        for name, own in scopes.items()
    } == {"a": [True, True], "b": [False, False], "unknown": [False, False], "proved": [True, True]}


def test_pods_with_an_ipv6_address_listen_on_any_of_both_families_and_others_on_ipv4_alone(
    view: FakeView,
) -> None:
    dual = replace(pod("dual", "10.0.0.8"), addresses=("10.0.0.8", "fd00::8"))
    view.pods = {each.key: each for each in (CALLER, dual)}
    catalogue = Catalogue(view, MeshConfig())
    seen = {name: catalogue.scopes(proxy(name)) for name in ("client", "dual")}
    for name, also in (("client", []), ("dual", ["::"])):
        for wildcard in ("virtualOutbound", "virtualInbound", "0.0.0.0_80"):
            listener = listener_pb2.Listener.FromString(body(seen[name], LISTENER, wildcard))
            more = [each.address.socket_address for each in listener.additional_addresses]
            assert [each.address for each in more] == also, wildcard
            assert all(each.port_value == listener.address.socket_address.port_value for each in more)
        listener = listener_pb2.Listener.FromString(body(seen[name], LISTENER, "10.1.0.2_5432"))
        assert not listener.additional_addresses
    key = view.put(service("web", (81, Protocol.HTTP), west="fd00::1"))
    changes = catalogue.apply(Changes(services=frozenset({key})))
    assert touched(changes, LISTENER) == {"0.0.0.0_81"}
    assert all(find(scopes, LISTENER, "0.0.0.0_81") for scopes in seen.values())
