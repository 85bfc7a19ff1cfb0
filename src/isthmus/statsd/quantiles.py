"""Quantiles over a sliding window, in bounded memory.

Observations are counted in buckets whose bounds grow by 2 % (the sketch of Masson, Rim and Lee, DDSketch,
VLDB 2019), so that a quantile is within 1 % *of its value*. statsd_exporter bounds the error of the *rank*
instead (`error` of its quantiles), which says nothing of the value in a long tail. Below 1e-9 a value is
zero, above 1e12 it is that, and no answer lies outside of what was observed in the window.

The window is `slots` intervals, statsd_exporter's age buckets: the oldest interval is forgotten as a whole.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, inf, log, nan

_ACCURACY = 0.01
_GROWTH = (1 + _ACCURACY) / (1 - _ACCURACY)
_PER_LOG = 1 / log(_GROWTH)
_LEAST, _MOST = 1e-9, 1e12
_SHIFT = 1 - ceil(log(_LEAST) * _PER_LOG)


def _bucket(value: float) -> int:
    """The bucket's number: 0 for zero, rising with the value, negative for negative values."""
    if -_LEAST < value < _LEAST:
        return 0
    if value > 0:
        return ceil(log(value if value < _MOST else _MOST) * _PER_LOG) + _SHIFT
    return -ceil(log(-value if value > -_MOST else _MOST) * _PER_LOG) - _SHIFT


def _middle(bucket: int) -> float:
    """The value that is within 1 % of all values of a bucket."""
    if bucket == 0:
        return 0.0
    value = 2 * _GROWTH ** (abs(bucket) - _SHIFT) / (_GROWTH + 1)
    return value if bucket > 0 else -value


@dataclass(slots=True)
class _Slot:
    counts: dict[int, int] = field(default_factory=dict[int, int])
    low: float = inf
    high: float = -inf


class SlidingQuantiles:
    """The quantiles of what was observed in the last `slots` intervals, the running one included."""

    __slots__ = ("_newest", "_slots", "_total")

    def __init__(self, slots: int) -> None:
        self._slots = deque((_Slot(),), maxlen=slots)
        self._newest = self._slots[-1]
        self._total: dict[int, int] = {}

    def observe(self, value: float, weight: int) -> None:
        """Count `value` as often as `weight` says."""
        bucket = _bucket(value)
        newest, total = self._newest, self._total
        newest.counts[bucket] = newest.counts.get(bucket, 0) + weight
        total[bucket] = total.get(bucket, 0) + weight
        if value < newest.low:
            newest.low = value
        if value > newest.high:
            newest.high = value

    def advance(self) -> None:
        """Begin the next interval and forget the oldest."""
        if len(self._slots) == self._slots.maxlen:
            for bucket, count in self._slots.popleft().counts.items():
                left = self._total[bucket] - count
                if left:
                    self._total[bucket] = left
                else:
                    del self._total[bucket]
        self._newest = _Slot()
        self._slots.append(self._newest)

    def values(self, quantiles: Sequence[float]) -> list[float]:
        """The value at each quantile, which must rise; NaN where nothing was observed."""
        total = self._total
        if not total:
            return [nan] * len(quantiles)
        low, high = min(slot.low for slot in self._slots), max(slot.high for slot in self._slots)
        count = sum(total.values())
        buckets = iter(sorted(total))
        bucket, below = 0, 0
        values = list[float]()
        for quantile in quantiles:
            rank = max(1, ceil(quantile * count))
            while below < rank:
                bucket = next(buckets)
                below += total[bucket]
            values.append(min(max(_middle(bucket), low), high))
        return values
