"""Whose proxies are told of a Service: Istio's annotation `networking.istio.io/exportTo`, and the default."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from isthmus.clusters.intake import Intake
from isthmus.clusters.service_annotations import declared_exports
from isthmus.clusters.view import JoinedView
from isthmus.config.mesh import MeshConfig, read_mesh_config
from isthmus.kube import objects
from isthmus.kube.watch import Removed, Upserted
from isthmus.lib.errors import UserError
from isthmus.model.exports import EVERYBODY, NOBODY, Audience, audience
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, NAME_TABLE, ROUTE, Scope
from isthmus.model.service import Kind, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.translate.catalogue import Catalogue
from tests.compat.adsc import delta_client, whole_client
from tests.compat.test_adsc import DB, DB_CLUSTER, stage
from tests.compat.test_name_table import ips
from tests.translate.fake_view import EAST, WEST, FakeView, endpoint, proxy, service

ANNOTATION = "networking.istio.io/exportTo"


def echo(export_to: str | None, address: str = "10.1.0.1") -> objects.Service:
    annotations = {} if export_to is None else {ANNOTATION: export_to}
    metadata = {"name": "echo", "namespace": "demo", "annotations": annotations}
    spec = {"clusterIP": address, "ports": [{"port": 80, "name": "http"}]}
    return msgspec.convert({"metadata": metadata, "spec": spec}, objects.Service)


@pytest.mark.parametrize(
    ("annotation", "declared", "who"),
    [
        (None, (), None),
        ("", (), None),
        ("*", ("*",), EVERYBODY),
        (".", (".",), {"demo"}),
        ("~", ("~",), NOBODY),
        (" a , .,a,", (".", "a"), {"demo", "a"}),
        ("demo,.", (".", "demo"), {"demo"}),
        ("~,a", ("a", "~"), NOBODY),
        ("~,*,a", ("*", "a", "~"), EVERYBODY),
        ("A_b,a", ("a",), {"a"}),
    ],
)
def test_an_annotation_means_namespaces_as_istio_reads_it(
    annotation: str | None, declared: tuple[str, ...], who: Audience | set[str] | None
) -> None:
    assert declared_exports(echo(annotation).metadata) == declared
    if who is not None:
        assert audience("demo", declared) == who


def test_what_means_nothing_is_named_and_the_rest_is_in_force() -> None:
    view = JoinedView({})
    intake = Intake(view.new_store(WEST), control_namespace="istio-system", changed=view.changed)
    view.hold({WEST: intake.store})
    intake.service(Upserted(echo("A_b, a")))
    [[rejected]] = intake.rejected.values()
    assert (rejected.kind, rejected.ref) == ("Service", ("demo", "echo"))
    assert rejected.reason == (
        'metadata.annotations["networking.istio.io/exportTo"]: \'A_b\' is no namespace, nor ".", "*" or "~"; '
        "a is in force"
    )
    found = view.service(ServiceKey("demo", "echo"))
    assert found is not None
    assert found.export_to == ("a",)
    intake.service(Upserted(echo("A_b")))
    [[rejected]] = intake.rejected.values()
    assert rejected.reason.endswith("the mesh config's default is in force")
    intake.service(Upserted(echo(".")))
    assert not intake.rejected
    intake.service(Upserted(echo("A_b")))
    intake.service(Removed(echo("A_b")))
    assert not intake.rejected


def test_the_first_cluster_that_says_so_decides_and_those_that_say_otherwise_are_reported() -> None:
    view, told = JoinedView({}), list[Changes]()
    stores = {cluster: view.new_store(cluster) for cluster in (EAST, WEST)}
    intakes = {
        cluster: Intake(store, control_namespace="istio-system", changed=view.changed)
        for cluster, store in stores.items()
    }
    view.hold(stores)
    key = ServiceKey("demo", "echo")
    with view.subscribe(told.append):
        for cluster, declared in ((EAST, "b"), (WEST, ".")):
            intakes[cluster].service(Upserted(echo(declared)))
        found = view.service(key)
        assert found is not None
        assert (found.export_to, found.exports) == (("b",), {EAST: ("b",), WEST: (".",)})
        told.clear()
        intakes[EAST].service(Upserted(echo(".")))
        assert told == [Changes(services=frozenset({key}))]
        intakes[EAST].service(Upserted(echo(None)))
    found = view.service(key)
    assert found is not None
    assert (found.export_to, found.exports) == ((".",), {}), "who says nothing does not disagree"


def test_a_default_that_names_no_namespace_is_refused() -> None:
    assert read_mesh_config("").default_service_export_to == ("*",)
    assert read_mesh_config("defaultServiceExportTo: ['.', istio-system]").default_service_export_to == (
        ".",
        "istio-system",
    )
    with pytest.raises(UserError, match=r"defaultServiceExportTo\[1\]: 'A_b' is no namespace"):
        read_mesh_config("defaultServiceExportTo: ['.', A_b]")
    with pytest.raises(UserError, match=r"defaultServiceExportTo: expected `array`"):
        read_mesh_config("defaultServiceExportTo: '.'")


def seen(scopes: Sequence[Scope], type_url: str) -> set[str]:
    """Names, each in one scope."""
    found = [one.name for scope in scopes for one in scope.all(type_url)]
    assert len(found) == len(set(found))
    return set(found)


def hosts(scopes: Sequence[Scope], port: str) -> set[str]:
    [found] = [one for scope in scopes if (one := scope.get(ROUTE, port)) is not None]
    config = RouteConfiguration.FromString(found.body)
    return {host.name for host in config.virtual_hosts} - {"allow_any"}


def services_named(scopes: Sequence[Scope]) -> set[str]:
    """Of the name table."""
    [found] = [one for scope in scopes for one in scope.all(NAME_TABLE)]
    return {host.split(".")[0] for host in ips(found.body)}


def mesh_of_exports() -> FakeView:
    """One service of each audience on port 80, and one by TCP, cluster-local and node-local."""
    view = FakeView()
    for number, (name, to) in enumerate(
        {"all": (), "own": (".",), "nobody": ("~",), "friends": (".", "b")}.items()
    ):
        view.put(
            service(name, (80, Protocol.HTTP), (90, Protocol.TCP), west=f"10.1.0.{number}", export_to=to),
            endpoint(f"10.0.0.{number}"),
        )
    local = service("own", (80, Protocol.HTTP), namespace="kube-system", west="10.1.0.8", export_to=("demo",))
    view.put(local, endpoint("10.0.0.8"), endpoint("10.0.1.8", cluster=EAST))
    view.put(
        replace(service("logs", (514, Protocol.TCP), west="10.1.0.9", export_to=("b",)), node_local=True)
    )
    return view


def test_each_namespace_sees_what_is_exported_to_it_and_nobody_pays_for_the_rest() -> None:
    catalogue = Catalogue(mesh_of_exports(), MeshConfig())
    by_namespace = {
        name: catalogue.scopes(proxy(name, f"10.9.0.{number}", namespace=name))
        for number, name in enumerate(("demo", "b", "c", "d"))
    }
    expected = {
        "demo": {"all.demo", "own.demo", "friends.demo", "own.kube-system"},
        "b": {"all.demo", "friends.demo", "logs.demo"},
        "c": {"all.demo"},
        "d": {"all.demo"},
    }
    for name, scopes in by_namespace.items():
        for type_url in (CLUSTER, ENDPOINT):
            clusters = {one.split("|")[3] for one in seen(scopes, type_url) if one.startswith("outbound|")}
            assert clusters == {f"{each}.svc.cluster.local" for each in expected[name]}, (name, type_url)
        web = expected[name] - {"logs.demo"}
        assert hosts(scopes, "80") == {f"{each}.svc.cluster.local:80" for each in web}
        listeners = seen(scopes, LISTENER)
        assert {"virtualOutbound", "0.0.0.0_80", "10.1.0.0_90"} <= listeners
        assert ("10.1.0.1_90" in listeners) is (name == "demo")
        assert ("10.1.0.9_514" in listeners) is (name == "b")
        assert not [one for one in listeners if one.startswith("10.1.0.2_")], "nobody sees it"
        assert services_named(scopes) == {each.split(".")[0] for each in expected[name]}
    shared = [[one for one in by_namespace[name] if one in by_namespace["c"]] for name in ("b", "d")]
    assert len(shared[1]) == len(by_namespace["c"]) - 1, "all but the routes, which know short names"
    assert len(by_namespace["c"]) == len(by_namespace["b"]) - 3, "only who sees more has scopes for it"
    assert len(shared[0]) == 4, "clusters, endpoints and listeners for all, and the inbound side"


def test_a_change_is_told_to_those_who_see_the_service() -> None:
    view = mesh_of_exports()
    catalogue = Catalogue(view, MeshConfig())
    scopes = {name: catalogue.scopes(proxy(name, namespace=name)) for name in ("demo", "b", "c")}
    for each in scopes.values():
        assert [one for scope in each for kind in scope.types for one in scope.all(kind)]
    derived = catalogue.counters.derivations
    own = ServiceKey("demo", "own")
    view.backing[own][80] = [endpoint("10.0.0.99")]
    [change] = catalogue.apply(Changes(endpoints=frozenset({own})))
    assert change.names == {
        ENDPOINT: frozenset(f"outbound|{port}||own.demo.svc.cluster.local" for port in (80, 90))
    }
    assert [name for name, some in scopes.items() if change.scope in some] == ["demo"]
    change.scope.all(ENDPOINT)
    assert catalogue.counters.derivations == derived + 2

    hidden = view.put(service("more", (81, Protocol.HTTP), west="10.1.0.7", export_to=("~",)))
    only = Changes(services=frozenset({hidden}))
    assert (catalogue.apply(only), catalogue.rescoped(only)) == ([], set()), "nobody hears of it"
    view.put(service("more", (81, Protocol.HTTP), west="10.1.0.7", export_to=("b",)))
    told = catalogue.apply(only)
    assert told
    assert all(one.scope in scopes["b"] and one.scope not in scopes["c"] for one in told)


def test_the_first_and_the_last_restricted_service_of_a_namespace_ask_its_proxies_anew() -> None:
    view = FakeView()
    key = view.put(service("db", (5432, Protocol.TCP), west="10.1.0.2"))
    catalogue = Catalogue(view, MeshConfig())
    inside, outside = proxy("a"), proxy("b", "10.0.0.8", namespace="other")
    for each in (inside, outside):
        catalogue.scopes(each)
    name = "outbound|5432||db.demo.svc.cluster.local"

    def export(*to: str) -> set[str]:
        view.known[key] = replace(view.known[key], export_to=to)
        changes = Changes(services=frozenset({key}))
        catalogue.apply(changes)
        asked = catalogue.rescoped(changes)
        for each in (inside, outside):
            catalogue.scopes(each)
        return asked

    assert export(".") == {inside.node_id}
    assert name not in seen(catalogue.scopes(outside), CLUSTER)
    assert export("other", ".") == {outside.node_id}
    assert export("other") == {inside.node_id}
    assert name not in seen(catalogue.scopes(inside), CLUSTER)
    assert export("*") == {outside.node_id}
    assert name in seen(catalogue.scopes(inside), CLUSTER)


def test_the_default_of_the_mesh_hides_all_but_what_says_otherwise_and_the_policy_server() -> None:
    view = FakeView()
    for name, namespace, declared in (
        ("echo", "demo", ()),
        ("open", "demo", ("*",)),
        ("istio-policy", "istio-system", ()),
    ):
        view.put(service(name, (80, Protocol.HTTP), namespace=namespace, export_to=declared))
    catalogue = Catalogue(view, MeshConfig(default_service_export_to=(".",)))
    names = {
        one.split("|")[3].split(".")[0] for one in seen(catalogue.scopes(proxy("x", namespace="q")), ENDPOINT)
    }
    assert names == {"open", "istio-policy"}


def test_a_port_that_all_share_stays_one_listener_whoever_claims_it() -> None:
    """HTTP's listeners are for any address: with a public service on the port it is everybody's."""
    view = FakeView()
    view.put(service("own", (80, Protocol.HTTP), west="10.1.0.1", export_to=(".",)))
    catalogue = Catalogue(view, MeshConfig())
    inside, outside = catalogue.scopes(proxy("a")), catalogue.scopes(proxy("b", namespace="other"))
    assert "0.0.0.0_80" in seen(inside, LISTENER)
    assert "0.0.0.0_80" not in seen(outside, LISTENER)
    key = view.put(service("all", (80, Protocol.HTTP), kind=Kind.CLUSTER_IP))
    for there in (True, False):
        if not there:
            del view.known[key], view.backing[key]
        told = catalogue.apply(Changes(services=frozenset({key})))
        about = [one.scope for one in told if "0.0.0.0_80" in one.names.get(LISTENER, ())]
        assert sum(scope in inside for scope in about) == 2, "where it is, and where it was"
        assert "0.0.0.0_80" in seen(inside, LISTENER)
        assert ("0.0.0.0_80" in seen(outside, LISTENER)) is there


@pytest.mark.parametrize("first", ["*", "default"])
async def test_connected_proxies_keep_what_is_exported_to_them_in_another_way_and_lose_the_rest(
    first: str,
) -> None:
    """In both forms; these clients are of the namespace `default`."""
    async with stage() as mesh, whole_client(mesh.port) as whole, delta_client(mesh.port) as delta:

        def export(*to: str) -> None:
            mesh.view.known[DB] = replace(mesh.view.known[DB], export_to=to)
            changes = Changes(services=frozenset({DB}))
            mesh.change(changes)
            mesh.hub.rescope(mesh.catalogue.rescoped(changes))

        async def settled(number: int) -> None:
            """A change that comes last has reached both."""
            address, port = f"10.2.0.{number}", 5000 + number
            key = mesh.view.put(service(f"last{number}", (port, Protocol.TCP), west=address))
            mesh.change(Changes(services=frozenset({key})))
            name, listener = f"outbound|{port}||{key.hostname()}", f"{address}_{port}"
            await delta.until(ENDPOINT, name)
            await delta.until(LISTENER, listener)
            while name not in whole.eds_clusters:
                await whole.wait(CLUSTER)
            while listener not in whole.tcp:
                await whole.wait(LISTENER)

        export(first)
        await whole.begin(CLUSTER)
        await delta.begin(CLUSTER, LISTENER)
        await settled(1)
        for number, to in enumerate((".,default", "*", "default", "default,other", "*"), 2):
            export(*to.split(","))
            await settled(number)
            assert delta.removed == [], f"exported to {to}"
            assert {DB_CLUSTER, "10.1.0.2_5432"} <= {*whole.eds_clusters, *whole.tcp}
        export("demo")
        await settled(9)
        assert {DB_CLUSTER, "10.1.0.2_5432"} <= set(delta.removed)
        while DB_CLUSTER in whole.eds_clusters:
            await whole.wait(CLUSTER)
        assert not {DB_CLUSTER, "10.1.0.2_5432"} & {*whole.eds_clusters, *whole.tcp}
        assert not any(one.nack for each in mesh.hub.clients() for one in each.types)
