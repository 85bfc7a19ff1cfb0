"""One cluster's store: what each change touches, and what it leaves alone."""

from isthmus.clusters.parts import ServicePort
from isthmus.model.service import Kind, Network, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import Health, Locality, WorkloadKey
from tests.clusters.building import ECHO, WEST, backend, named, pod, service, slice_of, store_of

NOTHING = Changes()
ZONE_A, ZONE_B = Locality("eu", "eu-a"), Locality("eu", "eu-b")


def key(name: str) -> WorkloadKey:
    return WorkloadKey(WEST, "demo", name)


def test_equal_parts_change_nothing():
    store = store_of()
    for put, parts in (
        (store.put_service, (service(), service())),
        (store.put_pod, (pod("a", "10.1.0.1"), pod("a", "10.1.0.1"))),
    ):
        first, again = parts
        assert put(first) != NOTHING  # pyright: ignore[reportArgumentType]
        assert put(again) == NOTHING  # pyright: ignore[reportArgumentType]
    assert store.put_slice(named("s"), slice_of("echo", backend("10.1.0.1", "a"))) != NOTHING
    assert store.put_slice(named("s"), slice_of("echo", backend("10.1.0.1", "a"))) == NOTHING
    assert store.put_node("n1", ZONE_A).endpoints == {ECHO}
    assert store.put_node("n1", ZONE_A) == NOTHING
    assert store.put_network(Network("")) == NOTHING


def test_a_new_service_changes_shape_and_the_pods_that_it_selects():
    store = store_of()
    store.put_pod(pod("a"))
    store.put_pod(pod("b", labels={"app": "other"}))
    changes = store.put_service(service())
    assert changes.services == {ECHO}
    assert changes.workloads == {key("a")}


def test_a_selector_change_concerns_the_pods_of_both_selectors_and_nobody_else():
    store = store_of()
    store.put_service(service())
    for name, app in (("a", "echo"), ("b", "other"), ("c", "third")):
        store.put_pod(pod(name, labels={"app": app}))
    changes = store.put_service(service(selector={"app": "other"}))
    assert changes == Changes(workloads=frozenset({key("a"), key("b")}))


def test_a_changed_target_port_concerns_the_selected_pods_only():
    store = store_of()
    store.put_service(service())
    store.put_pod(pod("a"))
    changes = store.put_service(service("echo", ServicePort(80, "http", Protocol.HTTP, 9090)))
    assert changes == Changes(workloads=frozenset({key("a")}))


def test_a_pod_concerns_only_the_services_whose_endpoints_refer_to_it():
    store = store_of()
    for name in ("echo", "other"):
        store.put_service(service(name))
    store.put_slice(named("echo-1"), slice_of("echo", backend("10.1.0.1", "a")))
    store.put_slice(named("other-1"), slice_of("other", backend("10.1.0.2", "b")))
    changes = store.put_pod(pod("a", "10.1.0.1"))
    only = frozenset({ECHO})
    assert changes == Changes(endpoints=only, workloads=frozenset({key("a")}), accounts=only)
    assert store.drop_pod(named("a")) == changes
    assert store.drop_pod(named("a")) == NOTHING


def test_a_node_concerns_only_the_endpoints_on_it():
    store = store_of()
    for name, address, node in (("echo", "10.1.0.1", "n1"), ("other", "10.1.0.2", "n2")):
        store.put_service(service(name))
        store.put_pod(pod(f"{name}-pod", address, node=node))
        store.put_slice(named(name), slice_of(name, backend(address, f"{name}-pod")))
    changes = store.put_node("n1", ZONE_A)
    assert changes == Changes(endpoints=frozenset({ECHO}), workloads=frozenset({key("echo-pod")}))
    assert store.endpoints(ECHO)[80][0].locality == ZONE_A
    assert store.put_node("n1", ZONE_B).endpoints == {ECHO}
    assert store.drop_node("n1").endpoints == {ECHO}
    assert store.endpoints(ECHO)[80][0].locality == Locality()


def test_a_node_without_labels_moves_nobody():
    store = store_of()
    store.put_pod(pod("a", "10.1.0.1"))
    assert store.put_node("n1", Locality()) == NOTHING
    assert store.drop_node("n1") == NOTHING


def test_the_network_label_moves_all_pods_but_those_with_their_own():
    store = store_of()
    store.put_pod(pod("a"))
    store.put_pod(pod("b", labels={"topology.istio.io/network": "lan"}))
    assert store.put_network(Network("wan")).workloads == {key("a")}
    moved, stayed = store.pod("demo", "a"), store.pod("demo", "b")
    assert moved is not None
    assert stayed is not None
    assert (moved.network, stayed.network) == ("wan", "lan")
    assert store.put_network(None).workloads == {key("a")}


def test_slices_of_a_service_that_is_not_there_change_nothing_until_it_comes():
    store = store_of()
    assert store.put_slice(named("s"), slice_of("echo", backend("10.1.0.1"))) == NOTHING
    assert store.endpoints(ECHO) == {}
    assert store.put_service(service()).services == {ECHO}
    assert [e.address for e in store.endpoints(ECHO)[80]] == ["10.1.0.1"]


def test_a_slice_that_moves_to_another_service_concerns_both():
    store = store_of()
    store.put_service(service("echo"))
    store.put_service(service("other"))
    store.put_slice(named("s"), slice_of("echo", backend("10.1.0.1")))
    changes = store.put_slice(named("s"), slice_of("other", backend("10.1.0.1")))
    assert changes.endpoints == {ECHO, ServiceKey("demo", "other")}
    assert store.endpoints(ECHO) == {}


def test_an_address_in_two_slices_is_one_endpoint_where_it_is_healthiest():
    store = store_of()
    store.put_service(service())
    store.put_slice(named("s1"), slice_of("echo", backend("10.1.0.1", health=Health.UNREADY)))
    store.put_slice(named("s2"), slice_of("echo", backend("10.1.0.1", health=Health.READY)))
    (only,) = store.endpoints(ECHO)[80]
    assert only.health is Health.READY


def test_slice_ports_are_matched_by_name_with_the_services_own():
    store = store_of()
    ports = (ServicePort(80, "http", Protocol.HTTP, 8080), ServicePort(90, "grpc", Protocol.GRPC, 9090))
    store.put_service(service("echo", *ports))
    targets = (("http", 8080), ("grpc", 9090), ("metrics", 1))
    store.put_slice(named("s"), slice_of("echo", backend("10.1.0.1"), ports=targets))
    assert {n: [e.port for e in es] for n, es in store.endpoints(ECHO).items()} == {80: [8080], 90: [9090]}


def test_addresses_published_before_they_are_ready_are_ready():
    store = store_of()
    store.put_service(service(publish_not_ready=True))
    store.put_slice(named("s"), slice_of("echo", backend("10.1.0.1", health=Health.UNREADY)))
    assert store.endpoints(ECHO)[80][0].health is Health.READY
    assert store.put_service(service()).endpoints == {ECHO}
    assert store.endpoints(ECHO)[80][0].health is Health.UNREADY


def test_an_external_name_has_no_endpoints():
    store = store_of()
    store.put_service(service(kind=Kind.EXTERNAL_NAME))
    store.put_slice(named("s"), slice_of("echo", backend("10.1.0.1")))
    assert store.endpoints(ECHO) == {}


def test_a_named_target_port_is_found_on_the_pod():
    store = store_of()
    store.put_service(service("echo", ServicePort(80, "http", Protocol.HTTP, "web")))
    store.put_service(service("other"))
    store.put_pod(pod("a", ports=(("web", 8081),)))
    workload = store.pod("demo", "a")
    assert workload is not None
    (inbound,) = store.inbound_ports(workload)
    assert (inbound.service, inbound.service_port, inbound.target_port) == (ECHO, 80, 8081)


def test_a_pod_is_found_at_its_address_while_it_lives():
    store = store_of()
    store.put_pod(pod("a", "10.1.0.1"))
    store.put_pod(pod("b", "10.1.0.1"))
    found = store.pod_at("10.1.0.1")
    assert found is not None
    assert found.key.name == "a"
    store.drop_pod(named("a"))
    found = store.pod_at("10.1.0.1")
    assert found is not None
    assert found.key.name == "b"
    store.put_pod(pod("b", "10.1.0.2"))
    assert store.pod_at("10.1.0.1") is None


def test_of_a_large_service_only_the_slices_are_derived_anew_that_changed():
    store = store_of()
    store.put_service(service())
    store.put_pod(pod("a", "10.1.0.1"))
    for name, address, of_pod in (("s1", "10.1.0.1", "a"), ("s2", "10.1.0.2", ""), ("s3", "10.1.0.3", "")):
        store.put_slice(named(name), slice_of("echo", backend(address, of_pod)))
    [before] = store.endpoints(ECHO).values()
    store.put_slice(named("s3"), slice_of("echo", backend("10.1.0.4")))
    [after] = store.endpoints(ECHO).values()
    assert [one.address for one in after] == ["10.1.0.1", "10.1.0.2", "10.1.0.4"]
    assert after[0] is before[0]
    assert after[1] is before[1]
    store.put_pod(pod("a", "10.1.0.1", labels={"app": "echo", "version": "2"}))
    [relabelled] = store.endpoints(ECHO).values()
    assert relabelled[0] != before[0]
    assert relabelled[1] is before[1]


def test_accounts_behind_a_service_are_told_only_when_they_differ():
    store = store_of()
    store.put_service(service())
    store.put_pod(pod("a", "10.1.0.1", account="blue"))
    store.put_pod(pod("b", "10.1.0.2", account="blue"))
    first = store.put_slice(named("s1"), slice_of("echo", backend("10.1.0.1", "a")))
    assert (first.accounts, set(store.accounts(ECHO))) == ({ECHO}, {"blue"})
    another = store.put_slice(named("s2"), slice_of("echo", backend("10.1.0.2", "b")))
    assert (another.endpoints, another.accounts) == ({ECHO}, set())
    late = store.put_slice(
        named("s1"), slice_of("echo", backend("10.1.0.1", "a"), backend("10.1.0.3", "c", Health.UNREADY))
    )
    assert (late.endpoints, late.accounts) == ({ECHO}, set())
    assert store.put_pod(pod("c", "10.1.0.3", account="green")).accounts == {ECHO}
    assert set(store.accounts(ECHO)) == {"blue", "green"}
    assert store.drop_slice(named("s2")).accounts == set()
    assert store.drop_slice(named("s1")).accounts == {ECHO}
    assert set(store.accounts(ECHO)) == set()


def test_a_slice_that_changes_its_service_takes_its_accounts_along():
    store = store_of()
    for name in ("echo", "other"):
        store.put_service(service(name))
    store.put_pod(pod("a", "10.1.0.1", account="blue"))
    store.put_slice(named("s"), slice_of("echo", backend("10.1.0.1", "a")))
    moved = store.put_slice(named("s"), slice_of("other", backend("10.1.0.1", "a")))
    assert moved.accounts == {ECHO, ECHO._replace(name="other")}
    assert (set(store.accounts(ECHO)), set(store.accounts(ECHO._replace(name="other")))) == (set(), {"blue"})


def test_an_endpoint_is_awaited_while_its_pod_is_named_and_not_known():
    store = store_of()
    store.put_service(service())
    store.put_slice(named("s"), slice_of("echo", backend("10.1.0.1", "a"), backend("10.1.0.2")))
    assert [(e.address, e.awaited) for e in store.endpoints(ECHO)[80]] == [
        ("10.1.0.1", True),
        ("10.1.0.2", False),
    ]
    assert store.put_pod(pod("a", "10.1.0.1")).endpoints == {ECHO}
    assert not any(e.awaited for e in store.endpoints(ECHO)[80])
