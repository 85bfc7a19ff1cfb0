"""Services that belong to a cluster itself: its API server's above all (Istio: cluster-local services)."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from isthmus.clusters.join import merge_service
from isthmus.clusters.reading import read_pod, read_service
from isthmus.clusters.store import ClusterStore, Derivations
from isthmus.config.cluster_local import ClusterLocalServices
from isthmus.config.mesh import MeshConfig, read_mesh_config
from isthmus.kube import objects
from isthmus.lib.errors import UserError
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, Scope, ScopeChange
from isthmus.model.service import Kind, Network, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import Workload
from isthmus.translate.catalogue import Catalogue
from tests.compat.adsc import delta_client, whole_client
from tests.compat.test_adsc import stage
from tests.translate.fake_view import EAST, WEST, FakeView, endpoint, pod, proxy, service

API = "outbound|443||kubernetes.default.svc.cluster.local"
ECHO = "outbound|80||echo.demo.svc.cluster.local"
ONLY_THERE = """
serviceSettings:
- settings: {clusterLocal: true}
  hosts: ["*.demo.svc.cluster.local"]
- settings: {clusterLocal: false}
  hosts: ["echo.demo.svc.cluster.local", "kubernetes.default.svc.cluster.local"]
"""


def test_the_most_specific_host_decides_and_a_shared_one_takes_its_default_along() -> None:
    defaults = ClusterLocalServices()
    assert ServiceKey("default", "kubernetes") in defaults
    assert ServiceKey("kube-system", "kube-dns") in defaults
    assert ServiceKey("default", "echo") not in defaults
    assert ServiceKey("kube-system-tools", "kube-dns") not in defaults

    said = ClusterLocalServices(read_mesh_config(ONLY_THERE).service_settings)
    assert ServiceKey("demo", "db") in said
    assert ServiceKey("demo", "echo") not in said
    assert ServiceKey("default", "kubernetes") not in said
    assert ServiceKey("kube-system", "kube-dns") in said

    dns_shared = 'serviceSettings: [{hosts: ["kube-dns.kube-system.svc.cluster.local"]}]'
    shared = ClusterLocalServices(read_mesh_config(dns_shared).service_settings)
    assert ServiceKey("kube-system", "metrics") not in shared, "Istio drops the whole default"
    everything = 'serviceSettings: [{settings: {clusterLocal: true}, hosts: ["*"]}]'
    assert ServiceKey("demo", "echo") in ClusterLocalServices(read_mesh_config(everything).service_settings)
    with pytest.raises(UserError, match=r"serviceSettings\[0\]\.settings\.clusterLocal"):
        read_mesh_config("serviceSettings: [{settings: {clusterLocal: 1}}]")


def addresses(scopes: Sequence[Scope], name: str) -> list[str]:
    """Behind that cluster, which exactly one of the scopes has."""
    [found] = [one for scope in scopes if (one := scope.get(ENDPOINT, name)) is not None]
    assignment = ClusterLoadAssignment.FromString(found.body)
    assert assignment.cluster_name == name
    return [
        member.endpoint.address.socket_address.address
        for locality in assignment.endpoints
        for member in locality.lb_endpoints
    ]


def touched(changes: Sequence[ScopeChange]) -> dict[str, list[Scope]]:
    found: dict[str, list[Scope]] = {}
    for change in changes:
        for name in change.names.get(ENDPOINT, ()):
            found.setdefault(name, []).append(change.scope)
    return found


def test_a_proxy_is_given_its_own_clusters_api_server_and_everybodys_echo() -> None:
    view = FakeView()
    api = service("kubernetes", (443, Protocol.HTTPS), namespace="default", west="10.1.0.1", east="10.2.0.1")
    key = view.put(api, endpoint("192.0.2.1", cluster=WEST), endpoint("192.0.2.2", cluster=EAST))
    echo = view.put(
        service("echo", (80, Protocol.HTTP)),
        endpoint("10.0.0.1", cluster=WEST),
        endpoint("10.0.0.2", cluster=EAST),
    )
    catalogue = Catalogue(view, MeshConfig())
    here, there = catalogue.scopes(proxy("a")), catalogue.scopes(proxy("b", cluster=EAST))
    assert (addresses(here, API), addresses(there, API)) == (["192.0.2.1"], ["192.0.2.2"])
    assert addresses(here, ECHO) == addresses(there, ECHO) == ["10.0.0.1", "10.0.0.2"]
    for scopes in (here, there):
        names = [one.name for scope in scopes for one in scope.all(ENDPOINT)]
        assert sorted(names) == sorted([API, ECHO]), "each in one scope"

    view.backing[key][443] = [endpoint("192.0.2.3", cluster=WEST), endpoint("192.0.2.2", cluster=EAST)]
    told = touched(catalogue.apply(Changes(endpoints=frozenset({key}))))
    assert set(told) == {API}
    assert not [scope for scope in told[API] if scope.get(ENDPOINT, ECHO)], (
        "who has no such name hears nothing"
    )
    assert addresses(here, API) == ["192.0.2.3"]
    assert set(touched(catalogue.apply(Changes(endpoints=frozenset({echo}))))) == {ECHO}

    del view.known[key], view.backing[key]
    assert set(touched(catalogue.apply(Changes(services=frozenset({key}))))) == {API}
    assert not [scope for scope in here if scope.get(ENDPOINT, API)]


def test_a_service_that_a_cluster_lacks_has_no_endpoints_there() -> None:
    view = FakeView()
    view.put(
        service("dns", (53, Protocol.TCP), namespace="kube-system", west="10.1.0.10", kind=Kind.CLUSTER_IP),
        endpoint("10.0.0.5", cluster=WEST),
    )
    catalogue = Catalogue(view, MeshConfig())
    name = "outbound|53||dns.kube-system.svc.cluster.local"
    assert addresses(catalogue.scopes(proxy("a")), name) == ["10.0.0.5"]
    assert addresses(catalogue.scopes(proxy("b", cluster=EAST)), name) == []


def on(node: str, pod: Workload) -> Workload:
    return replace(pod, node=node)


def test_a_node_local_service_is_served_by_the_pods_of_the_clients_own_node() -> None:
    """Kubernetes: `internalTrafficPolicy: Local`; Istio: NodeLocal."""
    view = FakeView()
    logs = ServiceKey("demo", "logs")
    name = "outbound|514||logs.demo.svc.cluster.local"
    agents = [
        on("n1", pod("logs-1", "10.0.0.1")),
        on("n2", pod("logs-2", "10.0.0.2")),
        on("n1", pod("logs-3", "10.0.1.1", cluster=EAST)),
    ]
    behind = [endpoint(each.addresses[0], cluster=each.key.cluster, behind=each) for each in agents]
    nobodys = endpoint("10.0.0.3")
    for number in (1, 2):
        client = on(f"n{number}", pod(f"client-{number}", f"10.0.0.1{number}"))
        view.pods[client.key] = client
    view.put(service("logs", (514, Protocol.TCP), west="10.1.0.1"), *behind, nobodys)
    catalogue = Catalogue(view, MeshConfig())
    clients = [proxy(f"client-{number}", f"10.0.0.1{number}") for number in (1, 2)]
    stranger = proxy("nobody", "10.0.0.99")
    shared = catalogue.scopes(clients[0])
    assert addresses(shared, name) == ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.0.3"]
    for each in (clients[1], stranger):
        catalogue.scopes(each)

    def turn(local: bool) -> set[str]:
        """What the pods' proxies are told to ask anew when the Service says so."""
        view.known[logs] = replace(view.known[logs], node_local=local)
        changes = Changes(services=frozenset({logs}))
        catalogue.apply(changes)
        return catalogue.rescoped(changes)

    everybody = {each.node_id for each in (*clients, stranger)}
    assert turn(True) == everybody
    first, second = (catalogue.scopes(each) for each in clients)
    assert (addresses(first, name), addresses(second, name)) == (["10.0.0.1"], ["10.0.0.2"])
    assert addresses(catalogue.scopes(stranger), name) == [], "an answer, so that Envoy does not wait for one"

    view.backing[logs][514] = behind[1:]
    told = touched(catalogue.apply(Changes(endpoints=frozenset({logs}))))
    assert set(told) == {name}
    assert (addresses(first, name), addresses(second, name)) == ([], ["10.0.0.2"])

    assert turn(False) == everybody
    assert addresses(catalogue.scopes(clients[0]), name) == ["10.0.0.2", "10.0.1.1"]
    assert turn(False) == set()


def test_the_policy_of_a_service_and_the_node_of_a_pod_are_read() -> None:
    spec = {"clusterIP": "10.1.0.1", "ports": [{"port": 514}], "internalTrafficPolicy": "Local"}
    named = {"name": "logs", "namespace": "demo"}
    logs = read_service(msgspec.convert({"metadata": named, "spec": spec}, objects.Service))
    assert merge_service(logs.key, {WEST: logs}).node_local
    alone = msgspec.convert({"metadata": named, "spec": {**spec, "clusterIP": "None"}}, objects.Service)
    assert not read_service(alone).node_local, "kube-proxy has no part in it"

    store = ClusterStore(WEST, Network(""), Derivations())
    assert store.put_service(logs).services == {logs.key}
    assert store.put_service(replace(logs, node_local=False)).services == {logs.key}
    running = {"metadata": {"name": "logs-1", "namespace": "demo"}, "spec": {"nodeName": "n1"}}
    part = read_pod(WEST, msgspec.convert(running, objects.Pod))
    assert part is not None
    store.put_pod(part)
    placed = store.pod("demo", "logs-1")
    assert placed is not None
    assert placed.node == "n1"


@pytest.mark.parametrize("local", [True, False])
async def test_connected_proxies_follow_a_service_that_becomes_node_local_or_not(
    local: bool,
) -> None:
    """In both forms: what is elsewhere now is sent from there, and not said to be gone."""
    async with stage() as mesh, whole_client(mesh.port) as whole, delta_client(mesh.port) as delta:
        name = "outbound|5432||db.demo.svc.cluster.local"
        view, db = mesh.view, ServiceKey("demo", "db")

        def turn(now: bool) -> None:
            view.known[db] = replace(view.known[db], node_local=now)
            changes = Changes(services=frozenset({db}))
            mesh.change(changes)
            mesh.hub.rescope(mesh.catalogue.rescoped(changes))

        def behind(body: bytes) -> int:
            return sum(len(each.lb_endpoints) for each in ClusterLoadAssignment.FromString(body).endpoints)

        turn(not local)
        await whole.begin(CLUSTER)
        await whole.wait(CLUSTER, ENDPOINT, LISTENER)
        await delta.begin(CLUSTER)
        await delta.until(ENDPOINT, name)
        assert behind(delta.held[ENDPOINT][name]) == (1 if local else 0)
        turn(local)
        await whole.wait(ENDPOINT)
        assert sum(len(one.lb_endpoints) for one in whole.endpoints[name].endpoints) == (0 if local else 1)
        while name not in delta.held[ENDPOINT] or behind(delta.held[ENDPOINT][name]) != (0 if local else 1):
            await delta.receive()
        view.put(service("last", (5000, Protocol.TCP), west="10.1.0.9"))
        mesh.change(Changes(services=frozenset({ServiceKey("demo", "last")})))
        await delta.until(ENDPOINT, "outbound|5000||last.demo.svc.cluster.local")
        assert delta.removed == []
