"""What xds counts: plain integers, for a push to 1,000 streams increments them for each. `xds.metrics` shows
them.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, NAME_TABLE, ROUTE

_SHORT = {CLUSTER: "cds", ENDPOINT: "eds", LISTENER: "lds", NAME_TABLE: "nds", ROUTE: "rds"}
SIZES = (1, 10_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000)
"""Bounds of the sizes that are told apart, in bytes; istiod's."""


def short_type(type_url: str) -> str:
    """`cds`, `eds`, `lds`, `rds`, `nds`, or the message's bare name."""
    return _SHORT.get(type_url) or type_url.rpartition(".")[2] or "unknown"


@dataclass(slots=True)
class Counters:
    """Totals since the process began."""

    pushes: int = 0
    """Calls of `Hub.publish` that concerned somebody."""
    stale: int = 0
    sends: Counter[str] = field(default_factory=Counter[str])
    sent_bytes: Counter[str] = field(default_factory=Counter[str])
    sizes: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    """Responses by type and by the first of `SIZES` that they do not exceed, an index."""
    rejects: Counter[str] = field(default_factory=Counter[str])
    violations: int = 0
    stalled: int = 0

    def sent(self, type_url: str, size: int) -> None:
        """One response was taken."""
        self.sends[type_url] += 1
        self.sent_bytes[type_url] += size
        self.sizes[type_url, bisect_left(SIZES, size)] += 1
