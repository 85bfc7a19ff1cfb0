"""Retry delays: exponential, capped, with jitter. Pure arithmetic; it sleeps for nobody."""

from dataclasses import dataclass, field
from random import Random


@dataclass(slots=True)
class Backoff:
    """Delays in seconds that double from `initial` to `cap`, each drawn from its upper half.

    Half of each delay is jitter, so that many callers who failed together do not return together.
    """

    initial: float = 0.2
    cap: float = 30.0
    source: Random = field(default_factory=Random)
    _attempt: int = 0

    def next_delay(self) -> float:
        """The delay before the next attempt, in seconds."""
        ceiling = min(self.cap, self.initial * 2.0 ** min(self._attempt, 32))
        self._attempt += 1
        return ceiling * (0.5 + self.source.random() / 2)

    def reset(self) -> None:
        """Start again from `initial`: the last attempt succeeded."""
        self._attempt = 0
