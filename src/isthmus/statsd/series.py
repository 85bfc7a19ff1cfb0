"""One series of each type: what it holds, and its lines in Prometheus' text format.

A series is written to for every sample (by `statsd.sinks`), so that its fields are plain and its methods few.
"""

from bisect import bisect_left
from collections.abc import Sequence

from isthmus.statsd.distinct import SlidingDistinct
from isthmus.statsd.quantiles import SlidingQuantiles
from isthmus.statsd.rules import ObserverOptions

_UNUSUAL = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


def sample_line(name: str, labels: str, value: float) -> str:
    """One line of the text format; `labels` as `escaped_labels` gives them."""
    head = f"{name}{{{labels}}}" if labels else name
    return f"{head} {_number_text(value)}\n"


def _number_text(value: float) -> str:
    text = repr(value).removesuffix(".0")
    return _UNUSUAL.get(text, text)


class Series:
    """What every series has: its labels as text, and its life.

    `live` is set by each sample and cleared by the sweep, which ends a series that nobody fed for `ttl`
    seconds (0: for ever).
    """

    __slots__ = ("fed_at", "labels", "live", "ttl")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.ttl = 0.0
        self.live = True
        self.fed_at = 0.0

    def lines(self, name: str) -> str:
        """The lines of this series."""
        raise NotImplementedError

    def advance(self, intervals: int) -> None:
        """Begin as many new intervals, where there is a window."""


class ValueSeries(Series):
    """A counter or a gauge."""

    __slots__ = ("value",)

    def __init__(self, labels: str) -> None:
        super().__init__(labels)
        self.value = 0.0

    def lines(self, name: str) -> str:
        """One line."""
        return sample_line(name, self.labels, self.value)


class HistogramSeries(Series):
    """Counts by bucket, the last for `+Inf`."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, labels: str, bounds: Sequence[float]) -> None:
        super().__init__(labels)
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, weight: int) -> None:
        """Count `value` as often as `weight` says."""
        self._counts[bisect_left(self._bounds, value)] += weight
        self._sum += value * weight

    def lines(self, name: str) -> str:
        """The buckets, each with those below it, then sum and count."""
        texts, below = list[str](), 0
        prefix = self.labels + "," if self.labels else ""
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            below += count
            texts.append(sample_line(f"{name}_bucket", f'{prefix}le="{_number_text(bound)}"', below))
        texts.append(sample_line(f"{name}_sum", self.labels, self._sum))
        texts.append(sample_line(f"{name}_count", self.labels, below))
        return "".join(texts)


class SummarySeries(Series):
    """Quantiles over a window; sum and count over all time."""

    __slots__ = ("_count", "_quantiles", "_sum", "_window")

    def __init__(self, labels: str, options: ObserverOptions) -> None:
        super().__init__(labels)
        self._quantiles = options.quantiles
        self._window = SlidingQuantiles(options.age_buckets)
        self._sum, self._count = 0.0, 0

    def observe(self, value: float, weight: int) -> None:
        """Count `value` as often as `weight` says."""
        self._window.observe(value, weight)
        self._sum += value * weight
        self._count += weight

    def advance(self, intervals: int) -> None:
        """Forget what is older than the window."""
        for _ in range(intervals):
            self._window.advance()

    def lines(self, name: str) -> str:
        """The quantiles, then sum and count."""
        prefix = self.labels + "," if self.labels else ""
        values = zip(self._quantiles, self._window.values(self._quantiles), strict=True)
        texts = [sample_line(name, f'{prefix}quantile="{quantile}"', value) for quantile, value in values]
        texts.append(sample_line(f"{name}_sum", self.labels, self._sum))
        texts.append(sample_line(f"{name}_count", self.labels, self._count))
        return "".join(texts)


class SetSeries(Series):
    """The number of distinct values in the last whole minute and the running one."""

    __slots__ = ("distinct",)

    def __init__(self, labels: str) -> None:
        super().__init__(labels)
        self.distinct = SlidingDistinct()

    def advance(self, intervals: int) -> None:
        """Forget the minute before the last."""
        for _ in range(intervals):
            self.distinct.advance()

    def lines(self, name: str) -> str:
        """One line."""
        return sample_line(name, self.labels, self.distinct.count())
