"""From what watches report to a cluster's state."""

from isthmus.clusters.health import Health, State, assess, observe
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.watch import Phase, WatchState

GONE = Unreachable("connection refused")


def failed(since: float, error: ApiError | Unreachable = GONE, current: float = 0.0) -> WatchState:
    return WatchState(Phase.FAILED, since, current, error)


def synced(since: float) -> WatchState:
    return WatchState(Phase.SYNCED, since, since)


def test_a_failure_lasts_from_its_first_report_until_it_is_overcome():
    first = observe(None, failed(10))
    assert observe(first, WatchState(Phase.LISTING, 11)) == first
    again = observe(first, failed(12, Unreachable("no route")))
    assert (again.since, str(again.error)) == (10, "no route")
    assert observe(again, synced(13)) == synced(13)


def test_states():
    listing = {"pods": synced(5), "services": WatchState(Phase.LISTING, 4)}
    assert assess(listing, joined=False, started=1) == Health(State.SYNCING, 1)
    fresh = {"pods": synced(5), "services": synced(6)}
    assert assess(fresh, joined=True, started=1) == Health(State.FRESH, 6)
    lost = {"pods": failed(20, current=15), "services": failed(21, current=16), "nodes": synced(6)}
    assert assess(lost, joined=True, started=1) == Health(
        State.STALE, 15, "pods, services: connection refused"
    )
    never = {"pods": failed(20), "services": failed(21)}
    assert assess(never, joined=False, started=1).state is State.UNREACHABLE
    assert assess(never, joined=False, started=1).since == 20


def test_a_refused_credential_outweighs_other_failures():
    watches = {"pods": failed(20), "services": failed(30, ApiError(401, "Unauthorized", ""))}
    health = assess(watches, joined=True, started=1)
    assert health == Health(State.UNAUTHORISED, 30, "services: 401 Unauthorized")
