"""When to try again, and when to doubt a silent watch: decisions only, no clock and no I/O."""

from dataclasses import dataclass, field

from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lib.backoff import Backoff

_LONGEST_WISH = 300.0
_RELIST_EVERY = 10
"""After so many failures in a row a list comes first: what fails may be the resuming."""


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next: after `delay` seconds a watch that resumes, or a new list first."""

    relist: bool
    delay: float


@dataclass(slots=True)
class Recovery:
    """How to go on after each end of a watch or failure of a list. It never gives up."""

    backoff: Backoff = field(default_factory=Backoff)
    _failures: int = 0
    _was_outdated: bool = False

    def went_well(self) -> None:
        """A watch delivered, or lasted."""
        self._failures, self._was_outdated = 0, False
        self.backoff.reset()

    def after_end(self, *, lasted: bool) -> Step:
        """The server ended a watch in good order: go on at once, unless it does so all the time."""
        if lasted:
            return Step(relist=False, delay=0.0)
        return self._after_failure()

    def after_outdated(self) -> Step:
        """What we have is too old to resume (410) or from another history: list, the first time at once.

        It is the first time also after other failures: a server that was restarted answers so, and is well.
        """
        first, self._was_outdated = not self._was_outdated, True
        step = self._after_failure()
        return Step(relist=True, delay=0.0 if first else step.delay)

    def after_error(self, error: ApiError | Unreachable) -> Step:
        """Anything else went wrong. A server's Retry-After is honoured, up to five minutes."""
        step = self._after_failure()
        wish = error.retry_after if isinstance(error, ApiError) else None
        return Step(step.relist, max(step.delay, min(wish or 0.0, _LONGEST_WISH)))

    def _after_failure(self) -> Step:
        self._failures += 1
        return Step(relist=self._failures % _RELIST_EVERY == 0, delay=self.backoff.next_delay())


@dataclass(slots=True)
class Silence:
    """How long a watch may be silent before it is probed, in seconds.

    API servers send a bookmark about every minute, so silence for longer is suspect, always where one ever
    came. Where none do, each probe or reopening that found nothing missed doubles the patience; a change that
    only a reopened watch delivered ends it.
    """

    first: float = 75.0
    cap: float = 600.0
    patience: float = field(init=False)
    _suspected: bool = False
    _bookmarked: bool = False

    def __post_init__(self) -> None:
        self.patience = self.first

    def bookmark_came(self) -> None:
        """This server sends bookmarks."""
        self._bookmarked = True
        self.patience = self.first
        self._suspected = False

    def probe_found_nothing(self) -> None:
        """The silence was honest."""
        self._grow()

    def reopened_on_suspicion(self) -> bool:
        """The watch was closed because a probe showed newer state that it did not deliver.

        Whether a list is due: the last one was closed for that too, and this one has brought nothing either.
        """
        self._grow()
        again, self._suspected = self._suspected, True
        return again

    def _grow(self) -> None:
        if not self._bookmarked:
            self.patience = min(self.cap, self.patience * 2)

    def change_came(self, *, soon: bool) -> None:
        """A change arrived; `soon` after the watch was opened it had been kept from us."""
        if self._suspected and soon:
            self.patience = self.first
        self._suspected = False
