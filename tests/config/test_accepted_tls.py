"""What a workload accepts: Istio's documented cases, one by one."""

from dataclasses import replace
from typing import Any

import pytest

from isthmus.config.accepted_tls import AcceptedTls, PeerAuthentications, applying
from isthmus.config.peer_authentication import PEER_AUTHENTICATION, Mode, PeerAuthentication
from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref
from isthmus.model.service import ClusterId, Network
from isthmus.model.workload import Locality, Workload, WorkloadKey

ROOT = "istio-system"
UNSET, DISABLE, PERMISSIVE, STRICT = Mode
TLS_MODE, HOME, FLAT = "security.istio.io/tlsMode", ClusterId("home"), Network("")
WEB = {"app": "web", "version": "v1"}


def rule(
    mode: Mode = UNSET,
    *,
    namespace: str = "demo",
    name: str = "default",
    created: int = 0,
    ports: dict[int, Mode] | None = None,
    **labels: str,
) -> PeerAuthentication:
    return PeerAuthentication(
        Ref(namespace, name),
        f"2026-01-01T00:00:{created:02}Z",
        tuple(sorted(labels.items())),
        mode,
        tuple(sorted((ports or {}).items())),
    )


@pytest.mark.parametrize(
    ("mesh", "own", "expected"),
    [
        ([], [], AcceptedTls(PERMISSIVE)),
        ([rule(STRICT)], [], AcceptedTls(STRICT)),
        ([rule(STRICT)], [rule(PERMISSIVE)], AcceptedTls(PERMISSIVE)),
        ([rule(STRICT)], [rule(UNSET)], AcceptedTls(STRICT)),
        ([rule(UNSET)], [rule(UNSET)], AcceptedTls(PERMISSIVE)),
        ([], [rule(STRICT), rule(DISABLE, app="web")], AcceptedTls(DISABLE)),
        ([], [rule(STRICT), rule(UNSET, app="web")], AcceptedTls(STRICT)),
        ([rule(DISABLE)], [rule(STRICT, app="other")], AcceptedTls(DISABLE)),
        ([rule(STRICT)], [rule(DISABLE, app="web", version="v2")], AcceptedTls(STRICT)),
        # A selector in the root namespace selects nothing.
        ([rule(STRICT, app="web")], [], AcceptedTls(PERMISSIVE)),
        # Single ports: UNSET there is what the workload has.
        (
            [rule(STRICT)],
            [rule(UNSET, app="web", ports={80: DISABLE, 81: UNSET})],
            AcceptedTls(STRICT, ((80, DISABLE), (81, STRICT))),
        ),
        (
            [],
            [rule(STRICT), rule(DISABLE, app="web", ports={80: UNSET, 81: PERMISSIVE})],
            AcceptedTls(DISABLE, ((80, DISABLE), (81, PERMISSIVE))),
        ),
    ],
)
def test_the_narrowest_that_says_something_holds(
    mesh: list[PeerAuthentication], own: list[PeerAuthentication], expected: AcceptedTls
) -> None:
    assert applying(mesh, own, WEB).accepted == expected


def test_of_several_for_the_same_the_oldest_holds_and_then_the_first_by_name() -> None:
    young, old = rule(STRICT, name="a", created=9), rule(DISABLE, name="b", created=1)
    assert applying([young, old], [], WEB).accepted.mode is DISABLE
    assert applying([], [old, young], WEB).accepted.mode is DISABLE
    ports = [
        rule(STRICT, name="b", created=1, app="web", ports={80: DISABLE}),
        rule(PERMISSIVE, name="a", created=1, version="v1", ports={81: DISABLE}),
    ]
    assert applying([], ports, WEB).accepted == AcceptedTls(PERMISSIVE, ((81, DISABLE),))


def test_a_port_that_nothing_names_has_the_workloads_mode() -> None:
    accepted = AcceptedTls(STRICT, ((8080, DISABLE),))
    assert (accepted.on(8080), accepted.on(8081)) == (DISABLE, STRICT)


def store_of(*found: tuple[str, str, dict[str, Any]]) -> ConfigStore[PeerAuthentication]:
    store = ConfigStore(PEER_AUTHENTICATION)
    for namespace, name, spec in found:
        metadata = {"namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
        assert store.apply(Ref(namespace, name), {"metadata": metadata, "spec": spec}) is None
    return store


def test_workloads_of_each_namespace_are_answered_by_their_own_and_the_root_namespaces_objects() -> None:
    port = {"selector": {"matchLabels": {"app": "web"}}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}}
    every = PeerAuthentications(
        ROOT, store_of((ROOT, "mesh", {"mtls": {"mode": "STRICT"}}), ("demo", "web", port))
    )
    assert every.accepted("demo", WEB) == AcceptedTls(STRICT, ((8080, DISABLE),))
    assert every.accepted("other", WEB) == every.accepted("demo", {}) == AcceptedTls(STRICT)
    assert every.accepted(ROOT, {}) == AcceptedTls(STRICT)
    web = Workload(
        WorkloadKey(HOME, "demo", "web"), (), {**WEB, TLS_MODE: "istio"}, {}, "web", FLAT, Locality()
    )
    assert (every.takes_tls(web, 8080), every.takes_tls(web, 8081)) == (False, True)
    assert not every.takes_tls(replace(web, labels=WEB), 8081)
    assert PeerAuthentications(ROOT).accepted("demo", WEB) == AcceptedTls()


def test_a_changed_object_is_answered_for_at_once() -> None:
    store, ref = ConfigStore(PEER_AUTHENTICATION), Ref("demo", "default")
    every = PeerAuthentications(ROOT, store)
    found: list[Mode] = []
    for mode in ("STRICT", "DISABLE", None):
        if mode is None:
            store.remove(ref)
        else:
            store.apply(ref, {"metadata": ref._asdict(), "spec": {"mtls": {"mode": mode}}})
        found += [every.accepted("demo", WEB).mode, every.accepted("other", WEB).mode]
    assert found == [STRICT, PERMISSIVE, DISABLE, PERMISSIVE, PERMISSIVE, PERMISSIVE]


def test_an_object_that_concerns_nothing_is_named_with_the_reason() -> None:
    store = ConfigStore(PEER_AUTHENTICATION)
    labels = {"selector": {"matchLabels": {"app": "web"}}}
    objects: tuple[tuple[str, str, dict[str, Any]], ...] = (
        (ROOT, "first", {}),
        (ROOT, "second", {"mtls": {"mode": "STRICT"}}),
        (ROOT, "labelled", labels),
        ("demo", "default", {}),
        ("demo", "web", labels),
        ("demo", "web-too", labels),
        ("demo", "web-v1", {"selector": {"matchLabels": WEB}}),
        ("other", "default", {}),
    )
    for number, (namespace, name, spec) in enumerate(objects):
        metadata = {
            "namespace": namespace,
            "name": name,
            "creationTimestamp": f"2026-01-01T00:00:{number:02}Z",
        }
        store.apply(Ref(namespace, name), {"metadata": metadata, "spec": spec})
    every = PeerAuthentications(ROOT, store)
    assert {str(ref): reason.split(";")[0] for ref, reason in every.idle().items()} == {
        f"{ROOT}/second": f"{ROOT}/first is older and for the same workloads",
        f"{ROOT}/labelled": "objects of the root namespace are for the whole mesh",
        "demo/web-too": "demo/web is older and for the same workloads",
    }
    assert [str(ref) for ref in every.idle("demo")] == ["demo/web-too"]
    assert every.idle("nowhere") == {}


def test_which_object_decides_is_told() -> None:
    mesh, own, web = rule(STRICT, namespace=ROOT), rule(UNSET), rule(UNSET, name="web", app="web")
    found = applying([mesh], [own, web], WEB)
    assert (found.mesh, found.namespace, found.workload) == (mesh, own, web)
    assert found.deciding is mesh
    assert applying([], [own], WEB).deciding is None


def test_an_object_concerns_its_namespace_and_one_of_the_root_namespace_all() -> None:
    every = PeerAuthentications(ROOT)
    assert every.concerns(Ref("demo", "x"), "demo")
    assert not every.concerns(Ref("demo", "x"), "other")
    assert every.concerns(Ref(ROOT, "x"), "other")
