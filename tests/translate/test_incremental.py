"""Whatever happens, a catalogue that was kept up by changes equals one that is made anew."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from isthmus.config.accepted_tls import PeerAuthentications
from isthmus.config.mesh import MeshConfig
from isthmus.config.peer_authentication import PEER_AUTHENTICATION, Mode, PeerAuthentication
from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref
from isthmus.model.resources import LISTENER, NAME_TABLE, PUSH_ORDER, Resource, Scope
from isthmus.model.service import Kind, Protocol, Service
from isthmus.model.view import Changes
from isthmus.model.workload import Endpoint, Locality
from isthmus.translate.catalogue import Catalogue
from tests.support.thorough import examples
from tests.translate.fake_view import EAST, WEST, FakeView, endpoint, pod, proxy, service

NAMES = st.sampled_from(["a", "b", "c"])
ADDRESSES = st.sampled_from(["", "10.1.0.1", "10.1.0.2"])
PORTS = st.dictionaries(st.sampled_from([80, 81]), st.sampled_from(Protocol), max_size=2)
PODS = st.builds(
    pod,
    st.just("p"),
    st.just("10.0.0.1"),
    account=st.sampled_from(["blue", "green"]),
    tls=st.booleans(),
    app=st.sampled_from(["web", "kv"]),
)
BEHIND = st.one_of(st.none(), PODS)
ENDPOINTS = st.lists(
    st.builds(
        endpoint,
        st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        zone=st.sampled_from(["", "z1", "z2"]),
        behind=BEHIND,
    ),
    max_size=2,
)
EXPORTS = st.sampled_from([(), (), ("*",), (".",), ("~",), ("other",), (".", "q"), ("other", "q")])
PeersStep = tuple[str, dict[str, Any] | None]


@st.composite
def services(draw: st.DrawFn) -> Service:
    kind = draw(st.sampled_from(Kind))
    addressed = kind is Kind.CLUSTER_IP
    found = service(
        draw(NAMES),
        *sorted(draw(PORTS).items()),
        namespace=draw(st.sampled_from(["demo", "other", "kube-system"])),
        kind=kind,
        west=draw(ADDRESSES) if addressed else "",
        east=draw(ADDRESSES) if addressed else "",
        external_name="bank.example" if kind is Kind.EXTERNAL_NAME else "",
        export_to=draw(EXPORTS),
    )
    near = draw(st.sampled_from(["", "zone", "node"])) if addressed else ""
    return replace(found, same_zone=near == "zone", node_local=near == "node")


@st.composite
def peers_steps(draw: st.DrawFn) -> PeersStep:
    """One namespace's PeerAuthentication, or none."""
    spec: dict[str, Any] = {}
    if draw(st.booleans()):
        spec["mtls"] = {"mode": draw(st.sampled_from(Mode)).value}
    if draw(st.booleans()):
        spec["selector"] = {"matchLabels": {"app": "web"}}
    namespace = draw(st.sampled_from(["demo", "other", "istio-system"]))
    return namespace, draw(st.sampled_from([spec, None]))


Step = tuple[str, Service, list[Endpoint]]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["shape", "endpoints", "gone"]), services(), ENDPOINTS),
        peers_steps(),
    ),
    max_size=8,
)


def take(view: FakeView, step: Step) -> Changes:
    """Do one step in the view, and say so as the real view would."""
    what, subject, endpoints = step
    key = subject.key
    before = view.accounts(key)
    changes = _changes(view, what, subject, [_within(key.namespace, each) for each in endpoints])
    changed = frozenset({key} if view.accounts(key) != before else ())
    return replace(changes, accounts=changed)


def _within(namespace: str, endpoint: Endpoint) -> Endpoint:
    """The same; if there is a pod behind it, then in its service's namespace."""
    workload = endpoint.workload
    if workload is None:
        return endpoint
    within = replace(workload, key=workload.key._replace(namespace=namespace))
    return structs.replace(endpoint, workload=within)


def _changes(view: FakeView, what: str, subject: Service, endpoints: list[Endpoint]) -> Changes:
    key = subject.key
    match what:
        case "shape":
            view.put(subject, *endpoints)
            return Changes(services=frozenset({key}))
        case "gone":
            view.known.pop(key, None)
            view.backing.pop(key, None)
            return Changes(services=frozenset({key}), endpoints=frozenset({key}))
        case _:
            if key in view.known:
                view.put(view.known[key], *endpoints)
            return Changes(endpoints=frozenset({key}))


def put(store: ConfigStore[PeerAuthentication], ref: Ref, spec: dict[str, Any] | None) -> None:
    """The object is that now, or None for gone."""
    if spec is None:
        store.remove(ref)
    else:
        assert store.apply(ref, {"metadata": ref._asdict(), "spec": spec}) is None


TYPES = (*PUSH_ORDER, NAME_TABLE)


def content(scopes: Sequence[Scope]) -> dict[tuple[str, str], tuple[Resource, Scope]]:
    """Everything by type and name, and the one scope that has it."""
    every = [(t, r, scope) for t in TYPES for scope in scopes for r in scope.all(t)]
    found = {(t, r.name): (r, scope) for t, r, scope in every}
    assert len(found) == len(every), "two scopes hold one name"
    return found


@settings(max_examples=examples(150), deadline=None)
@given(STEPS, st.sampled_from([("*",), (".",)]))
def test_kept_up_equals_made_anew_and_every_difference_was_named(
    steps: list[Step | PeersStep], default: tuple[str, ...]
) -> None:
    mesh = MeshConfig(default_service_export_to=default)
    view, store = FakeView(), ConfigStore(PEER_AUTHENTICATION)
    peers = PeerAuthentications("istio-system", store)
    callers = [
        proxy("x"),
        proxy("y", cluster=EAST, namespace="other"),
        proxy("z", cluster=WEST, namespace="q"),
    ]
    secured = replace(pod("x", "10.0.0.9", tls=True), locality=Locality("r1", "z1"))
    view.pods[secured.key] = secured
    catalogue = Catalogue(view, mesh, peers=peers)
    held = [catalogue.scopes(caller) for caller in callers]
    before = [content(scopes) for scopes in held]
    for step in steps:
        former = held.copy()
        if len(step) == 3:
            changed = take(view, step)
            changes = catalogue.apply(changed)
            asking = catalogue.rescoped(changed)
            for index, caller in enumerate(callers):
                scopes = catalogue.scopes(caller)
                assert caller.node_id in asking or scopes == held[index]
                held[index] = scopes
        else:
            ref = Ref(step[0], "default")
            put(store, ref, step[1])
            changes = catalogue.peers_changed(ref)
            asking = catalogue.rescoped_by(ref)
            for index, caller in enumerate(callers):
                scopes = catalogue.scopes(caller)
                assert caller.node_id in asking or scopes == held[index]
                held[index] = scopes
        for scopes, left, old, caller in zip(held, former, before, callers, strict=True):
            new = content(scopes)
            fresh = content(Catalogue(view, mesh, peers=peers).scopes(caller))
            assert {k: r.body for k, (r, _) in new.items()} == {k: r.body for k, (r, _) in fresh.items()}
            named = {
                (t, n)
                for c in changes
                if c.scope in scopes or c.scope in left
                for t, names in c.names.items()
                for n in names
            }
            found = {k for k, (_, scope) in new.items() if scope not in left}
            different = {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}
            assert different - {(LISTENER, "virtualInbound")} <= named | found
            for k in different & old.keys() & new.keys():
                (then, there), (now, here) = old[k], new[k]
                assert then.body != now.body or there is not here
            old.clear()
            old.update(new)
