"""What xds counts: plain integers, for a push to 1,000 streams increments them for each. `xds.metrics` shows
them.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, NAME_TABLE, ROUTE

_SHORT = {CLUSTER: "cds", ENDPOINT: "eds", LISTENER: "lds", NAME_TABLE: "nds", ROUTE: "rds"}
SIZES = (1, 10_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000)
"""Bounds of the sizes that are told apart, in bytes; istiod's."""


DELAYS = (0.01, 0.05, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0)
"""Bounds of how late a change is sent, in seconds: istiod's, and what is below them."""


def short_type(type_url: str) -> str:
    """`cds`, `eds`, `lds`, `rds`, `nds`, or the message's bare name."""
    return _SHORT.get(type_url) or type_url.rpartition(".")[2] or "unknown"


def place_of(size: int) -> int:
    """The first of `SIZES` that it does not exceed, by index."""
    return bisect_left(SIZES, size)


def _none_yet() -> list[int]:
    return [0] * (len(SIZES) + 1)


@dataclass(slots=True)
class Counters:
    """Totals since the process began."""

    pushes: int = 0
    """Calls of `Hub.publish` that concerned somebody."""
    stale: int = 0
    sent_bytes: Counter[str] = field(default_factory=Counter[str])
    sizes: dict[str, list[int]] = field(default_factory=lambda: defaultdict(_none_yet))
    """Responses by type, and by their size's place among `SIZES`."""
    delays: list[int] = field(default_factory=lambda: [0] * (len(DELAYS) + 1))
    """Responses with a change in them, by their delay's place among `DELAYS`."""
    delayed: float = 0.0
    """The sum of their delays, in seconds."""
    rejects: Counter[str] = field(default_factory=Counter[str])
    violations: int = 0
    stalled: int = 0

    @property
    def sends(self) -> Counter[str]:
        """Responses by type."""
        return Counter({type_url: sum(places) for type_url, places in self.sizes.items()})

    def sent(self, type_url: str, size: int, place: int) -> None:
        """One response was taken; `place` is its size's (`place_of`)."""
        self.sent_bytes[type_url] += size
        self.sizes[type_url][place] += 1

    def converged(self, delay: float) -> None:
        """A change was sent to one proxy, `delay` seconds after it was known."""
        self.delays[bisect_left(DELAYS, delay)] += 1
        self.delayed += delay
