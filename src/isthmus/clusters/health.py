"""A cluster's life as a state machine: observations in, a state with its reason out. Pure; it has no clock.

What watches report decides. Probes tell of a server that has fallen silent before the watches notice, and of
a credential that is refused while an old watch still lasts; one probe that fails decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias

from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.watch import Phase, WatchState

Problem: TypeAlias = ApiError | Unreachable
INDISPENSABLE = frozenset({"services", "endpoints", "pods"})
DISPENSABLE = frozenset({"nodes", "namespaces"})
"""Kinds, by plural, that a cluster is served without where its reader may not read them."""
_MISSES = 2
"""Probes in a row that must fail to count."""


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

    STALE is since what we hold was last known to be current. `error` is what the server did, where it is the
    server's doing.
    """

    state: State
    since: float
    reason: str = ""
    error: Problem | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at the server: when (Unix seconds), how long it took (seconds), None for an answer."""

    at: float
    latency: float
    error: Problem | None = None

    @property
    def failed(self) -> bool:
        """Whether there was no answer, or one that refuses who we are.

        Any other answer is one: `/readyz` may be forbidden, missing, or say for a moment that it is not.
        """
        return isinstance(self.error, Unreachable) or (self.error is not None and self.error.status == 401)


@dataclass(frozen=True, slots=True)
class Life:
    """All that was observed of a cluster through one client; each observation makes the next value.

    `started` is when its first watch began. `complete`: its objects have all been read once. `alive_at`: when
    the server was last known to answer. All times are Unix seconds.
    """

    started: float
    watches: Mapping[str, WatchState] = field(default_factory=dict[str, WatchState])
    synced: frozenset[str] = frozenset()
    complete: bool = False
    alive_at: float = 0.0
    misses: tuple[Probe, ...] = ()
    fault: Health | None = None

    def watched(self, plural: str, report: WatchState) -> "Life":
        """A watch has reported."""
        seen = observe(self.watches.get(plural), report)
        now = replace(self, watches={**self.watches, plural: seen})
        if report.phase is Phase.SYNCED:
            now = replace(now.heard(report.since), synced=self.synced | {plural})
        wanted = INDISPENSABLE | {each for each in DISPENSABLE if not now.is_without(each)}
        return replace(now, complete=now.complete or wanted <= now.synced)

    def heard(self, at: float) -> "Life":
        """A watch has brought something: whatever probes said before, the server is there."""
        misses = tuple(probe for probe in self.misses if probe.at > at)
        return replace(self, alive_at=max(self.alive_at, at), misses=misses)

    def probed(self, probe: Probe) -> "Life":
        """A probe has ended."""
        return (
            replace(self, misses=(*self.misses, probe)[-_MISSES:]) if probe.failed else self.heard(probe.at)
        )

    def broke(self, at: float, reason: str) -> "Life":
        """It was ended by what is no failure of the server's: what it has learned grows old from now on."""
        state = State.STALE if self.complete else State.UNREACHABLE
        return replace(self, fault=self.fault or Health(state, at, reason))

    def is_without(self, plural: str) -> bool:
        """Whether it goes without a dispensable kind, for lack of rights."""
        watch = self.watches.get(plural)
        return plural in DISPENSABLE and watch is not None and _is_forbidden(watch)

    @property
    def health(self) -> Health:
        """How the cluster is."""
        if self.fault is not None:
            return self.fault
        watches = {plural: watch for plural, watch in self.watches.items() if not self.is_without(plural)}
        failed = {plural: watch for plural, watch in watches.items() if watch.phase is Phase.FAILED}
        forbidden = {plural: watch for plural, watch in failed.items() if _is_forbidden(watch)}
        if forbidden:
            return Health(State.UNAUTHORISED, _first(forbidden), _reason(forbidden), _error(forbidden))
        if failed and self.complete:
            since = min(watch.current_at or watch.since for watch in failed.values())
            return Health(State.STALE, since, _reason(failed), _error(failed))
        if failed:
            return Health(State.UNREACHABLE, _first(failed), _reason(failed), _error(failed))
        if len(self.misses) == _MISSES:
            return self._silent()
        if not self.complete:
            return Health(State.SYNCING, self.started)
        return Health(State.FRESH, max(watch.since for watch in watches.values()))

    def _silent(self) -> Health:
        """The watches complain of nothing, but the server does not answer, or refuses us."""
        first, last = self.misses[0], self.misses[-1]
        reason = f"probes: {last.error}"
        if isinstance(last.error, ApiError):
            return Health(State.UNAUTHORISED, first.at, reason, last.error)
        if self.complete:
            return Health(State.STALE, self.alive_at or first.at, reason, last.error)
        return Health(State.UNREACHABLE, first.at, reason, last.error)


def observe(before: WatchState | None, now: WatchState) -> WatchState:
    """What a report leaves us knowing: a failure lasts from its first report until it is overcome."""
    if before is None or before.phase is not Phase.FAILED or now.phase is Phase.SYNCED:
        return now
    if now.phase is Phase.LISTING:
        return replace(before, rejected=now.rejected)
    return replace(now, since=before.since)


def _is_forbidden(watch: WatchState) -> bool:
    """Whether the server refuses what was asked, to whom we are or to anyone."""
    return (
        watch.phase is Phase.FAILED and isinstance(watch.error, ApiError) and watch.error.status in (401, 403)
    )


def _first(failed: Mapping[str, WatchState]) -> float:
    return min(watch.since for watch in failed.values())


def _error(failed: Mapping[str, WatchState]) -> Problem | None:
    return failed[min(failed)].error


def _reason(failed: Mapping[str, WatchState]) -> str:
    """The failures in words, each once, with the kinds that suffer it."""
    kinds: dict[str, list[str]] = {}
    for plural, watch in sorted(failed.items()):
        kinds.setdefault(str(watch.error), []).append(plural)
    return "; ".join(f"{', '.join(plurals)}: {error}" for error, plurals in kinds.items())
