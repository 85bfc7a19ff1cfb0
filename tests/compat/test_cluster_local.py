"""Services that belong to a cluster itself: its API server's above all (Istio: cluster-local services)."""

from collections.abc import Sequence

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from isthmus.config.cluster_local import ClusterLocalServices
from isthmus.config.mesh import MeshConfig, read_mesh_config
from isthmus.lib.errors import UserError
from isthmus.model.resources import ENDPOINT, Scope, ScopeChange
from isthmus.model.service import Kind, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.translate.catalogue import Catalogue
from tests.translate.fake_view import EAST, WEST, FakeView, endpoint, proxy, service

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
