"""A cluster that is being left: its share of the traffic, by its Secret's annotation and the time. Pure.

So every replica, and one that starts anew, does the same. The share goes down in a few steps, each of which
costs one push; at its end the cluster serves what no other can, until it is removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from isthmus.clusters.annotations import DRAIN
from isthmus.config.durations import parse_duration

WHOLE = 10
"""A share of the traffic is so many tenths."""
_LONGEST = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Drain:
    """From `start` (Unix seconds) on, within `seconds`."""

    start: float
    seconds: float

    @property
    def _steps(self) -> int:
        """No more than one a second."""
        return min(max(int(self.seconds), 1), WHOLE)

    def share(self, now: float) -> int:
        """What is left of the cluster's share, in tenths."""
        if now >= self.start + self.seconds:
            return 0
        if now <= self.start:
            return WHOLE
        # A little more, so that a step is done at the very moment that `due` names.
        done = int((now - self.start) / self.seconds * self._steps + 1e-6)
        return round(WHOLE * (self._steps - done) / self._steps)

    def due(self, now: float) -> float | None:
        """When the share changes next, in Unix seconds; None for never."""
        steps = (self.start + self.seconds * step / self._steps for step in range(1, self._steps + 1))
        return next((at for at in steps if at > now), None)

    def within(self, seconds: float, now: float) -> "Drain":
        """The same share now, and the rest of it at the pace of another duration."""
        done = min(max(now - self.start, 0.0) / self.seconds, 1.0) if self.seconds else 1.0
        return Drain(now - done * seconds, seconds)

    def describe(self, now: float) -> str:
        """How far it is, for people."""
        share = self.share(now)
        end = datetime.fromtimestamp(self.start + self.seconds, UTC).isoformat(timespec="seconds")
        return f"draining until {end}, {share * 100 // WHOLE}% left" if share else f"drained since {end}"


def read_drain(annotations: Mapping[str, str], cluster: str) -> tuple[Drain | None, str]:
    """What the Secret says of that cluster, None for nothing; and what is wrong with it, "" for nothing."""
    text = _entries(annotations).get(cluster)
    if text is None:
        return None, ""
    start, _, duration = text.partition("/")
    try:
        begun = datetime.fromisoformat(start)
        seconds = parse_duration(duration).total_seconds()
    except ValueError as error:
        return None, f"annotation without effect: {DRAIN}: {str(error)[:100]}"
    if begun.tzinfo is None or seconds > _LONGEST:
        flaw = f"{text[:60]!r} has no time zone, or lasts beyond a week"
        return None, f"annotation without effect: {DRAIN}: {flaw}"
    return Drain(begun.timestamp(), seconds), ""


def write_drain(annotations: Mapping[str, str], cluster: str, drain: Drain | None) -> str | None:
    """The annotation's new value with that cluster draining so, or not; None where none is needed."""
    entries = dict(_entries(annotations))
    entries.pop(cluster, None)
    if drain is not None:
        start = datetime.fromtimestamp(drain.start, UTC).isoformat(timespec="milliseconds")
        entries[cluster] = f"{start}/{drain.seconds:g}s"
    return ",".join(f"{name}={text}" for name, text in sorted(entries.items())) or None


def _entries(annotations: Mapping[str, str]) -> Mapping[str, str]:
    parts = (part.strip().partition("=") for part in annotations.get(DRAIN, "").split(","))
    return {name: text for name, sign, text in parts if sign}
