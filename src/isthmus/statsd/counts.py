"""What the bridge counts of itself: plain integers, for most are incremented with every line."""

from collections import Counter
from dataclasses import dataclass, field

from isthmus.statsd.line import Kind

_MOST_NAMES = 1000
OTHER_NAMES = "(others)"


class Tally:
    """Samples of one kind, shared by all sinks that are alike in what is counted of them."""

    __slots__ = ("samples",)

    def __init__(self) -> None:
        self.samples = 0


class NamedCounter:
    """Counts by two words, the second a metric's name: of the first thousand pairs, the rest together."""

    def __init__(self) -> None:
        self.counts = Counter[tuple[str, str]]()

    def add(self, word: str, name: str) -> None:
        """Count one."""
        pair = (word, name)
        if pair not in self.counts and len(self.counts) >= _MOST_NAMES:
            pair = (word, OTHER_NAMES)
        self.counts[pair] += 1


@dataclass(slots=True)
class Counts:
    """Totals since the process began; names are those of statsd_exporter's metrics where it has them."""

    lines: int = 0
    udp_packets: int = 0
    tcp_connections: int = 0
    tcp_connection_errors: int = 0
    tcp_connections_refused: int = 0
    tcp_too_long_lines: int = 0
    tag_errors: int = 0
    bad_samples: int = 0
    """Samples that were not well-formed; those of `sample_errors` that reached this far."""
    dropped_by_mapping: Tally = field(default_factory=Tally)
    sample_errors: Counter[str] = field(default_factory=Counter[str])
    event_errors: Counter[str] = field(default_factory=Counter[str])
    conflicts: NamedCounter = field(default_factory=NamedCounter)
    over_limits: NamedCounter = field(default_factory=NamedCounter)
    reloads: Counter[str] = field(default_factory=lambda: Counter({"success": 0, "failure": 0}))
    tallies: dict[tuple[Kind, bool, bool], Tally] = field(
        default_factory=dict[tuple[Kind, bool, bool], Tally]
    )
    """Samples taken, by kind, whether a mapping matched, and whether they had tags."""

    def tally(self, kind: Kind, *, mapped: bool, tagged: bool) -> Tally:
        """The tally for samples like these."""
        return self.tallies.setdefault((kind, mapped, tagged), Tally())

    def taken(
        self, kind: Kind | None = None, *, mapped: bool | None = None, tagged: bool | None = None
    ) -> int:
        """Samples taken, of those that are so."""
        return sum(
            tally.samples
            for (one, was_mapped, was_tagged), tally in self.tallies.items()
            if kind in (None, one) and mapped in (None, was_mapped) and tagged in (None, was_tagged)
        )

    def refuse(self, kind: Kind, metric: str, reason: str) -> None:
        """Count a well-formed sample that found no series."""
        match reason:
            case "conflict":
                self.conflicts.add(kind.value, metric)
            case "series_limit" | "series_limit_of_metric":
                self.over_limits.add(reason, metric)
            case _:
                self.event_errors[reason] += 1

    def samples(self) -> int:
        """All samples, good or bad."""
        refused = self.conflicts.counts.total() + self.over_limits.counts.total() + self.event_errors.total()
        return self.taken() + self.dropped_by_mapping.samples + refused + self.bad_samples
