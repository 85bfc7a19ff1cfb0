"""A cluster's life: from what watches and probes report to a state."""

from hypothesis import given
from hypothesis import strategies as st

from isthmus.clusters.health import DISPENSABLE, INDISPENSABLE, Health, Life, Probe, State, observe
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.watch import Phase, WatchState

GONE = Unreachable("connection refused")
WHO = ApiError(401, "Unauthorized", "")
KINDS = sorted(INDISPENSABLE | DISPENSABLE)


def failed(since: float, error: ApiError | Unreachable = GONE, current: float = 0.0) -> WatchState:
    return WatchState(Phase.FAILED, since, current, error)


def synced(since: float) -> WatchState:
    return WatchState(Phase.SYNCED, since, since)


def fresh(at: float = 5) -> Life:
    life = Life(1)
    for plural in KINDS:
        life = life.watched(plural, synced(at))
    return life


def test_a_failure_lasts_from_its_first_report_until_it_is_overcome():
    first = observe(None, failed(10))
    assert observe(first, WatchState(Phase.LISTING, 11)) == first
    again = observe(first, failed(12, Unreachable("no route")))
    assert (again.since, str(again.error)) == (10, "no route")
    assert observe(again, synced(13)) == synced(13)


def test_states():
    assert Life(1).watched("pods", synced(5)).health == Health(State.SYNCING, 1)
    assert fresh(6).health == Health(State.FRESH, 6)
    lost = fresh().watched("pods", failed(20, current=15)).watched("services", failed(21, current=16))
    assert lost.health == Health(State.STALE, 15, "pods, services: connection refused", GONE)
    never = Life(1).watched("pods", failed(20)).watched("services", failed(21))
    assert never.health == Health(State.UNREACHABLE, 20, "pods, services: connection refused", GONE)


def test_a_refused_credential_outweighs_other_failures():
    life = fresh().watched("pods", failed(20)).watched("services", failed(30, WHO))
    assert life.health == Health(State.UNAUTHORISED, 30, "services: 401 Unauthorized", WHO)


def test_kinds_that_may_not_be_read_and_need_not_be_keep_no_cluster_from_being_fresh():
    forbidden = failed(3, ApiError(403, "Forbidden", "cannot list nodes"))
    life = Life(1).watched("nodes", forbidden).watched("namespaces", forbidden)
    for plural in INDISPENSABLE:
        life = life.watched(plural, synced(5))
    assert life.complete
    assert life.health.state is State.FRESH


def test_a_server_that_falls_silent_is_stale_since_it_last_answered_though_no_watch_complains():
    life = fresh().probed(Probe(100, 0.1)).probed(Probe(125, 10, GONE))
    assert life.health.state is State.FRESH, "one probe decides nothing"
    life = life.probed(Probe(150, 10, GONE))
    assert life.health == Health(State.STALE, 100, "probes: connection refused", GONE)
    assert life.probed(Probe(175, 0.1)).health.state is State.FRESH


def test_changes_that_still_come_belie_failing_probes():
    life = fresh().probed(Probe(125, 10, GONE)).heard(130).probed(Probe(150, 10, GONE))
    assert life.health.state is State.FRESH


def test_probes_tell_of_a_refused_credential_while_the_old_watches_last():
    life = fresh().probed(Probe(125, 0.1, WHO)).probed(Probe(150, 0.1, WHO))
    assert life.health == Health(State.UNAUTHORISED, 125, "probes: 401 Unauthorized", WHO)


def test_a_server_that_does_not_let_itself_be_probed_is_none_the_worse():
    life = fresh()
    for status in (403, 404, 429, 500):
        life = life.probed(Probe(100, 0.1, ApiError(status, "No", "")))
    assert life.health.state is State.FRESH


ERRORS = st.sampled_from([GONE, WHO, ApiError(403, "Forbidden", ""), ApiError(500, "Internal", "")])
EVENTS = st.one_of(
    st.tuples(st.just("watch"), st.sampled_from(KINDS), st.sampled_from(list(Phase)), ERRORS),
    st.tuples(st.just("probe"), st.none() | ERRORS),
    st.tuples(st.just("change")),
)


def after(life: Life, at: float, event: tuple[object, ...]) -> Life:
    match event:
        case ("watch", str(plural), Phase.FAILED, ApiError() | Unreachable() as error):
            return life.watched(plural, failed(at, error, current=at - 1))
        case ("watch", str(plural), Phase() as phase, _):
            return life.watched(plural, WatchState(phase, at, at))
        case ("probe", (None | ApiError() | Unreachable()) as error):
            return life.probed(Probe(at, 0.1, error))
        case _:
            return life.heard(at)


@given(st.lists(EVENTS, max_size=60))
def test_whatever_happens_the_state_is_explained_and_what_was_complete_stays_so(
    events: list[tuple[object, ...]],
):
    life = Life(1)
    for at, event in enumerate(events, 10):
        before, life = life, after(life, at, event)
        health = life.health
        assert life.complete or not before.complete
        assert health.since <= at
        assert bool(health.reason) == (health.state not in (State.FRESH, State.SYNCING))
        assert not life.complete or health.state not in (State.SYNCING, State.UNREACHABLE)
        assert life.complete or health.state not in (State.FRESH, State.STALE)
        if health.state is not State.FRESH and before.health.state is health.state:
            assert health.since <= at


@given(st.lists(EVENTS, max_size=40))
def test_every_trouble_is_over_once_all_is_well_again(events: list[tuple[object, ...]]):
    life = Life(1)
    for at, event in enumerate(events, 10):
        life = after(life, at, event)
    for plural in KINDS:
        life = life.watched(plural, synced(100))
    life = life.probed(Probe(101, 0.1))
    assert life.health == Health(State.FRESH, 100)


@given(st.lists(EVENTS, max_size=40))
def test_a_fault_of_our_own_is_never_mistaken_for_the_servers(events: list[tuple[object, ...]]):
    life = fresh().broke(9, "ZeroDivisionError: a bug")
    for at, event in enumerate(events, 10):
        life = after(life, at, event)
    assert life.health == Health(State.STALE, 9, "ZeroDivisionError: a bug")
