"""What rules did, counted. A dry run's refusals are logged too, at most once a second for each rule."""

import time
from collections import Counter
from collections.abc import Callable
from enum import Enum

import structlog

_log = structlog.get_logger(__name__)
_PAUSE = 1.0


class Outcome(Enum):
    """What became of a rule. SKIPPED: something that it reads is absent, or it fails."""

    NO_MATCH = "no match"
    MATCHED = "matched"
    SKIPPED = "skipped"
    DENIED = "denied"


class Tally:
    """Counts since the start."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.checks: Counter[str] = Counter()
        """By what was answered: `allowed`, `denied`, `malformed`, `limit-ok`, `limit-over`."""
        self.rules: Counter[tuple[str, Outcome, bool]] = Counter()
        """By rule, outcome, and whether it was a dry run."""
        self._clock = clock
        self._told: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def count(self, label: str, outcome: Outcome, *, dry_run: bool, why: str) -> None:
        """One rule's outcome for one request."""
        if outcome is Outcome.NO_MATCH:
            return
        self.rules[label, outcome, dry_run] += 1
        if not dry_run or outcome is not Outcome.DENIED:
            return
        self._untold[label] += 1
        now = self._clock()
        if now - self._told.get(label, float("-inf")) >= _PAUSE:
            self._told[label] = now
            _log.info("dry run would deny", rule=label, why=why, times=self._untold.pop(label))

    def forget(self, gone: Callable[[str], bool]) -> None:
        """Drop the counts of rules that are in force no more."""
        for key in [key for key in self.rules if gone(key[0])]:
            del self.rules[key]
        for label in [label for label in self._told if gone(label)]:
            del self._told[label]
            self._untold.pop(label, None)
