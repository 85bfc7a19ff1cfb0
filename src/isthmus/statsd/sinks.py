"""Where the samples of one shape of line go: the value's text in, the series changed.

This is the innermost loop. A sink knows all that follows from the line but its value; `take` raises
ValueError, with nothing changed, for a value that it cannot take.
"""

from collections.abc import Callable
from typing import Protocol

from isthmus.statsd.counts import Tally
from isthmus.statsd.line import read_member, read_number
from isthmus.statsd.series import HistogramSeries, Series, SetSeries, SummarySeries, ValueSeries

_PLUS, _MINUS = b"+-"


class Sink(Protocol):
    """One shape's end."""

    @property
    def metric(self) -> str:
        """The metric's name, empty where samples are dropped."""
        ...

    @property
    def series(self) -> Series | None:
        """The series that samples change, None where they are dropped."""
        ...

    def take(self, text: bytes) -> None:
        """Take one value."""
        ...


class CounterSink:
    """Adds, divided by the sampling rate."""

    __slots__ = ("_divisor", "_scale", "_tally", "metric", "series")

    def __init__(self, metric: str, series: ValueSeries, tally: Tally, divisor: float, scale: float) -> None:
        self.metric, self.series, self._tally = metric, series, tally
        self._divisor, self._scale = divisor, scale

    def take(self, text: bytes) -> None:
        """Add; ValueError for less than nothing."""
        value = read_number(text) / self._divisor * self._scale
        if value < 0:
            raise ValueError
        series = self.series
        series.value += value
        series.live = True
        self._tally.samples += 1


class GaugeSink:
    """Sets, or changes by what has a sign: so a gauge goes below zero only by way of zero, as in statsd."""

    __slots__ = ("_scale", "_tally", "metric", "series")

    def __init__(self, metric: str, series: ValueSeries, tally: Tally, scale: float) -> None:
        self.metric, self.series, self._tally, self._scale = metric, series, tally, scale

    def take(self, text: bytes) -> None:
        """Set or change."""
        value = read_number(text) * self._scale
        sign = text[0]
        series = self.series
        if sign in (_PLUS, _MINUS):
            series.value += value
        else:
            series.value = value
        series.live = True
        self._tally.samples += 1


class ObserverSink:
    """Observes, as often as the sampling rate says."""

    __slots__ = ("_divisor", "_scale", "_tally", "_weight", "metric", "series")

    def __init__(
        self,
        metric: str,
        series: HistogramSeries | SummarySeries,
        tally: Tally,
        divisor: float,
        scale: float,
        weight: int,
    ) -> None:
        self.metric, self.series, self._tally = metric, series, tally
        self._divisor, self._scale, self._weight = divisor, scale, weight

    def take(self, text: bytes) -> None:
        """Observe."""
        series = self.series
        series.observe(read_number(text) / self._divisor * self._scale, self._weight)
        series.live = True
        self._tally.samples += 1


class SetSink:
    """Remembers which values there were."""

    __slots__ = ("_tally", "metric", "series")

    def __init__(self, metric: str, series: SetSeries, tally: Tally) -> None:
        self.metric, self.series, self._tally = metric, series, tally

    def take(self, text: bytes) -> None:
        """Take any text but none."""
        series = self.series
        series.distinct.add(read_member(text))
        series.live = True
        self._tally.samples += 1


class DropSink:
    """Counts what a mapping drops."""

    __slots__ = ("_read", "_tally", "metric", "series")

    def __init__(self, tally: Tally, read: Callable[[bytes], object]) -> None:
        self.metric, self.series, self._tally, self._read = "", None, tally, read

    def take(self, text: bytes) -> None:
        """Drop what can be read, so that the rest is counted as what it is."""
        self._read(text)
        self._tally.samples += 1
