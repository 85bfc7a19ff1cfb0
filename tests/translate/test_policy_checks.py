"""Which sidecars ask the policy server, about what, and whom a change of the rules concerns."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2 as http_pb2
from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2 as network_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.json_format import MessageToDict

from isthmus.config.mesh import MeshConfig
from isthmus.config.policy import POLICY, PolicySpec
from isthmus.config.policy_context import CONTEXT_METADATA, Destination, destination_of
from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref
from isthmus.model.resources import LISTENER, PUSH_ORDER, Resource
from isthmus.model.service import Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import InboundPort
from isthmus.translate.catalogue import Catalogue
from isthmus.xds.hub import Hub
from isthmus.xds.shelf import Form
from tests.policy.building import DENY, Json, policy
from tests.translate.fake_view import FakeView, endpoint, pod, proxy, service
from tests.translate.real_envoy import running_envoy
from tests.xds.fakes import FakeWire

ABOUT_ALL = {"when": 'source.cluster == "east"', **DENY}
ABOUT_REQUESTS = {"when": 'request.path == "/100%"', **DENY}
ON = MeshConfig()


def store_of(*policies: Json) -> ConfigStore[PolicySpec]:
    store = ConfigStore(POLICY)
    for one in policies:
        apply(store, one)
    return store


def apply(store: ConfigStore[PolicySpec], found: Json) -> Ref:
    ref = Ref(found["metadata"]["namespace"], found["metadata"]["name"])
    assert store.apply(ref, found) is None
    return ref


def mesh_of(*names: str, namespace: str = "demo") -> FakeView:
    """Pods `app: NAME` with a port of each sort, and the policy server."""
    view = FakeView()
    view.put(service("istio-policy", (9091, Protocol.GRPC), namespace="istio-system"), endpoint("10.0.9.9"))
    for number, name in enumerate(names):
        known = pod(name, f"10.0.0.{number + 1}", namespace=namespace, app=name, note='50% "off"')
        view.pods[known.key] = known
        web = ServiceKey(namespace, name)
        view.selecting[known.key] = [
            InboundPort(web, 80, 8080, "http", Protocol.HTTP),
            InboundPort(web, 5432, 5432, "tcp", Protocol.TCP),
            InboundPort(web, 7070, 7070, "what", Protocol.SNIFFED),
        ]
    return view


def resources(catalogue: Catalogue, name: str) -> list[Resource]:
    scopes = catalogue.scopes(proxy(name))
    return [one for type_url in PUSH_ORDER for scope in scopes for one in scope.all(type_url)]


def asked(catalogue: Catalogue, name: str) -> dict[str, list[Any]]:
    """The checks of a sidecar's inbound filter chains: by destination port ("" for all others), in order."""
    (inbound,) = [
        listener_pb2.Listener.FromString(one.body)
        for one in resources(catalogue, name)
        if one.type_url == LISTENER and one.name == "virtualInbound"
    ]
    found: dict[str, list[Any]] = {}
    for chain in inbound.filter_chains:
        port = str(chain.filter_chain_match.destination_port.value or "")
        for one in chain.filters:
            if one.name == "envoy.filters.network.ext_authz":
                authz = network_pb2.ExtAuthz.FromString(one.typed_config.value)
                found.setdefault(port, []).append(authz)
            elif one.name == "envoy.filters.network.http_connection_manager":
                manager = hcm_pb2.HttpConnectionManager.FromString(one.typed_config.value)
                names = [each.name for each in manager.http_filters]
                assert names[-1] == "envoy.filters.http.router"
                if names[:-1] == ["envoy.filters.http.ext_authz"]:
                    check = http_pb2.ExtAuthz.FromString(manager.http_filters[0].typed_config.value)
                    found.setdefault(port, []).append(check)
    return found


def kinds_of(checks: list[Any]) -> set[str]:
    return {"http" if isinstance(one, http_pb2.ExtAuthz) else "network" for one in checks}


def destination(authz: Any) -> Destination:
    (field,) = authz.grpc_service.initial_metadata
    assert field.key == CONTEXT_METADATA
    return destination_of(field.value.replace("%%", "%"))


def test_a_sidecar_asks_about_requests_and_connections_as_far_as_rules_are_about_them() -> None:
    view = mesh_of("web")
    both = asked(Catalogue(view, ON, policies=store_of(policy(ABOUT_REQUESTS, ABOUT_ALL))), "web")
    assert {port: sorted(kinds_of(found)) for port, found in both.items()} == {
        "8080": ["http"],
        "5432": ["network"],
        "7070": ["http", "network"],
        "": ["network"],
    }
    labels = {"app": "web", "note": '50% "off"'}
    named = Destination("west", "demo", "", "web.demo.svc.cluster.local", "default", labels)
    assert destination(both["8080"][0]) == destination(both["5432"][0]) == named
    assert destination(both[""][0]).service == ""
    requests = asked(Catalogue(view, ON, policies=store_of(policy(ABOUT_REQUESTS))), "web")
    assert set(requests) == {"8080", "7070"}


@pytest.mark.parametrize(
    ("policies", "mesh"),
    [
        ([], ON),
        ([policy(ABOUT_ALL, namespace="other")], ON),
        ([policy(ABOUT_ALL, selector={"matchLabels": {"app": "other"}})], ON),
        ([policy(ABOUT_ALL, namespace="istio-system", selector={"namespaces": ["other"]})], ON),
        ([policy()], ON),
        ([policy(ABOUT_ALL)], MeshConfig(disable_policy_checks=True)),
    ],
    ids=[
        "no policy",
        "another namespace",
        "another workload",
        "other namespaces",
        "no rule",
        "checks are off",
    ],
)
def test_a_sidecar_to_which_no_rule_can_apply_asks_nothing(policies: list[Json], mesh: MeshConfig) -> None:
    assert asked(Catalogue(mesh_of("web"), mesh, policies=store_of(*policies)), "web") == {}


def test_failure_and_deadline_are_the_mesh_configs() -> None:
    mesh = MeshConfig(policy_check_fail_open=True, mixer_check_server="p.ns.svc.cluster.local:15004")
    found = asked(Catalogue(mesh_of("web"), mesh, policies=store_of(policy(ABOUT_ALL))), "web")
    for authz in (found["8080"][0], found["5432"][0]):
        assert authz.failure_mode_allow
        service = MessageToDict(authz.grpc_service)
        assert service["envoyGrpc"]["clusterName"] == "outbound|15004||p.ns.svc.cluster.local"
        assert service["timeout"] == "0.500s"


@pytest.mark.parametrize("rules", [[ABOUT_ALL], [ABOUT_REQUESTS]], ids=["connections", "requests"])
async def test_a_real_envoy_takes_the_filters(rules: list[Json], tmp_path: Path) -> None:
    catalogue = Catalogue(mesh_of("web"), ON, policies=store_of(policy(*rules)))
    async with running_envoy(tmp_path, resources(catalogue, "web")) as envoy:
        assert envoy.ads.refusals == []
        dump = str(await envoy.ask("/config_dump"))
    assert "ext_authz" in dump
    assert envoy.log.read_text() == ""


class Sidecar:
    """A proxy that takes listeners, and counts the responses that it gets."""

    def __init__(self, hub: Hub, name: str, namespace: str = "demo") -> None:
        self._exchange = hub.connect(Form.WHOLE, FakeWire())
        request = discovery_pb2.DiscoveryRequest(type_url=LISTENER)
        request.node.id = proxy(name, namespace=namespace).node_id
        request.node.metadata["CLUSTER_ID"] = "west"
        self._exchange.receive(request.SerializeToString())
        assert self.responses() == 1

    def responses(self) -> int:
        """How many there are to take; all are accepted."""
        count = 0
        while (data := self._exchange.take()) is not None:
            response = discovery_pb2.DiscoveryResponse.FromString(data)
            answer = discovery_pb2.DiscoveryRequest(type_url=LISTENER, response_nonce=response.nonce)
            self._exchange.receive(answer.SerializeToString())
            count += 1
        return count


def test_a_change_of_rules_reaches_only_sidecars_whose_filters_change() -> None:
    view = mesh_of("web", "db")
    for name, address in (("web", "10.0.8.1"), ("far", "10.0.8.2")):
        known = pod(name, address, namespace="other", app=name)
        view.pods[known.key] = known
    store = store_of()
    catalogue = Catalogue(view, ON, policies=store)
    hub = Hub(catalogue)
    sidecars = {
        "web": Sidecar(hub, "web"),
        "db": Sidecar(hub, "db"),
        "other/web": Sidecar(hub, "web", "other"),
    }

    def told(change: Callable[[], Ref]) -> list[str]:
        ref = change()
        hub.rescope(catalogue.rescoped_by_policy(ref))
        return [name for name, one in sidecars.items() if one.responses()]

    def applying(*rules: Json, **more: Any) -> Callable[[], Ref]:
        return lambda: apply(store, policy(*rules, **more))

    web = {"selector": {"matchLabels": {"app": "web"}}}
    assert told(applying(ABOUT_REQUESTS, **web)) == ["web"]
    assert told(applying(ABOUT_REQUESTS, {"when": 'request.host == "x"', **DENY}, **web)) == []
    assert told(applying(ABOUT_REQUESTS, ABOUT_ALL, **web)) == ["web"]
    assert told(applying(ABOUT_ALL, name="all")) == ["db"]
    assert told(applying(ABOUT_ALL, name="mesh", namespace="istio-system", **web)) == ["other/web"]

    def removing() -> Ref:
        store.remove(Ref("demo", "all"))
        return Ref("demo", "all")

    assert told(removing) == ["db"]
    assert catalogue.apply(Changes()) == []
