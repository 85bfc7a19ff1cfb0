"""Whatever happens, a catalogue that was kept up by changes equals one that is made anew."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.config.mesh import MeshConfig
from isthmus.model.resources import PUSH_ORDER, Resource, Scope
from isthmus.model.service import Kind, Protocol, Service
from isthmus.model.view import Changes
from isthmus.model.workload import Endpoint
from isthmus.translate.catalogue import Catalogue
from tests.support.thorough import examples
from tests.translate.fake_view import EAST, WEST, FakeView, endpoint, proxy, service

NAMES = st.sampled_from(["a", "b", "c"])
ADDRESSES = st.sampled_from(["", "10.1.0.1", "10.1.0.2"])
PORTS = st.dictionaries(st.sampled_from([80, 81]), st.sampled_from(Protocol), max_size=2)
ENDPOINTS = st.lists(st.builds(endpoint, st.sampled_from(["10.0.0.1", "10.0.0.2"])), max_size=2)


@st.composite
def services(draw: st.DrawFn) -> Service:
    kind = draw(st.sampled_from(Kind))
    addressed = kind is Kind.CLUSTER_IP
    return service(
        draw(NAMES),
        *sorted(draw(PORTS).items()),
        namespace=draw(st.sampled_from(["demo", "other"])),
        kind=kind,
        west=draw(ADDRESSES) if addressed else "",
        east=draw(ADDRESSES) if addressed else "",
        external_name="bank.example" if kind is Kind.EXTERNAL_NAME else "",
    )


Step = tuple[str, Service, list[Endpoint]]
STEPS = st.lists(
    st.tuples(st.sampled_from(["shape", "endpoints", "gone"]), services(), ENDPOINTS), max_size=8
)


def take(view: FakeView, step: Step) -> Changes:
    """Do one step in the view, and say so as the real view would."""
    what, subject, endpoints = step
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


def content(scopes: Sequence[Scope]) -> dict[tuple[str, str], Resource]:
    return {(t, r.name): r for t in PUSH_ORDER for scope in scopes for r in scope.all(t)}


@settings(max_examples=examples(150), deadline=None)
@given(STEPS)
def test_kept_up_equals_made_anew_and_every_difference_was_named(steps: list[Step]) -> None:
    view = FakeView()
    callers = [
        proxy("x"),
        proxy("y", cluster=EAST, namespace="other"),
        proxy("z", cluster=WEST, namespace="q"),
    ]
    catalogue = Catalogue(view, MeshConfig())
    held = [catalogue.scopes(caller) for caller in callers]
    before = [content(scopes) for scopes in held]
    for step in steps:
        changes = catalogue.apply(take(view, step))
        for scopes, old, caller in zip(held, before, callers, strict=True):
            new = content(scopes)
            fresh = content(Catalogue(view, MeshConfig()).scopes(caller))
            assert {k: r.body for k, r in new.items()} == {k: r.body for k, r in fresh.items()}
            named = {
                (t, n) for c in changes if c.scope in scopes for t, names in c.names.items() for n in names
            }
            different = {k for k in old.keys() | new.keys() if old.get(k) is not new.get(k)}
            assert different <= named
            assert all(old[k].body != new[k].body for k in different & old.keys() & new.keys())
            old.clear()
            old.update(new)
