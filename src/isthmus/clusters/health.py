"""What a cluster's watches say about it: pure functions from observations to a state and its reason."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from isthmus.kube.errors import ApiError
from isthmus.kube.watch import Phase, WatchState


class State(Enum):
    """Where a cluster stands. Once it was FRESH its endpoints are served, until it is REMOVED."""

    SYNCING = "syncing"
    FRESH = "fresh"
    STALE = "stale"
    UNAUTHORISED = "unauthorised"
    UNREACHABLE = "unreachable"
    REMOVED = "removed"
    REFUSED = "refused"
    """Its Secret cannot be used as it is: no kubeconfig that we accept, or a clash with another cluster."""


@dataclass(frozen=True, slots=True)
class Health:
    """A state, since when (Unix seconds), and why: one clause, "" where all is well.

    STALE is since what we hold was last known to be current.
    """

    state: State
    since: float
    reason: str = ""


def observe(before: WatchState | None, now: WatchState) -> WatchState:
    """What a report leaves us knowing: a failure lasts from its first report until it is overcome."""
    if before is None or before.phase is not Phase.FAILED or now.phase is Phase.SYNCED:
        return now
    if now.phase is Phase.LISTING:
        return replace(before, rejected=now.rejected)
    return replace(now, since=before.since)


def is_forbidden(watch: WatchState) -> bool:
    """Whether the server refuses what was asked, to whom we are or to anyone."""
    return isinstance(watch.error, ApiError) and watch.error.status in (401, 403)


def assess(watches: Mapping[str, WatchState], *, joined: bool, started: float) -> Health:
    """A cluster's health from its indispensable watches (by plural), each as `observe` left it.

    `joined`: its objects have been complete once. `started`: when its first watch began.
    """
    failed = {plural: watch for plural, watch in watches.items() if watch.phase is Phase.FAILED}
    forbidden = {plural: watch for plural, watch in failed.items() if is_forbidden(watch)}
    if forbidden:
        return Health(State.UNAUTHORISED, _first(forbidden), _reason(forbidden))
    if failed and joined:
        since = min(watch.current_at or watch.since for watch in failed.values())
        return Health(State.STALE, since, _reason(failed))
    if failed:
        return Health(State.UNREACHABLE, _first(failed), _reason(failed))
    if not joined:
        return Health(State.SYNCING, started)
    return Health(State.FRESH, max(watch.since for watch in watches.values()))


def _first(failed: Mapping[str, WatchState]) -> float:
    return min(watch.since for watch in failed.values())


def _reason(failed: Mapping[str, WatchState]) -> str:
    """The failures in words, each once, with the kinds that suffer it."""
    kinds: dict[str, list[str]] = {}
    for plural, watch in sorted(failed.items()):
        kinds.setdefault(str(watch.error), []).append(plural)
    return "; ".join(f"{', '.join(plurals)}: {error}" for error, plurals in kinds.items())
