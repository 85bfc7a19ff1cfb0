"""All series by metric: bounded in number, of one type a metric, ended when nobody feeds them.

What cannot be is refused with its reason and never takes memory: a metric under a name that is taken by
another type (also by the `_sum`, `_count` or `_bucket` of one), a label that Prometheus keeps for itself, and
the series beyond the limits. A metric's type stays for as long as it has series.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from isthmus.statsd.errors import SampleRefused
from isthmus.statsd.intervals import Intervals
from isthmus.statsd.line import Kind
from isthmus.statsd.mapping_file import ObserverType
from isthmus.statsd.rules import SeriesOptions
from isthmus.statsd.series import HistogramSeries, Series, SetSeries, SummarySeries, ValueSeries

_SLICE = 100
_SET_INTERVAL = 60.0


class FamilyType(Enum):
    """A metric's type, as Prometheus calls it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


_SUFFIXES: Mapping[FamilyType, tuple[str, ...]] = {
    FamilyType.COUNTER: (),
    FamilyType.GAUGE: (),
    FamilyType.HISTOGRAM: ("_bucket", "_sum", "_count"),
    FamilyType.SUMMARY: ("_sum", "_count"),
}
_OWN_LABEL = {FamilyType.HISTOGRAM: "le", FamilyType.SUMMARY: "quantile"}


@dataclass(frozen=True, slots=True)
class Limits:
    """The most series of one metric, and of all together. A histogram is one series, whatever its lines."""

    per_metric: int = 10_000
    total: int = 100_000


@dataclass(slots=True)
class Family:
    """One metric: its type, options, and series by their labels as text. A set is a gauge of its own kind."""

    type: FamilyType
    kind: Kind
    options: SeriesOptions
    series: dict[str, Series] = field(default_factory=dict[str, Series])
    intervals: Intervals | None = None
    """Of the windows of its series, where they have one: all move on at once."""
    mortal: bool = False
    """Whether some series have a ttl."""


class Families:
    """The metrics of one bridge. `now` is in seconds of a clock that never jumps, as of the last sweep."""

    def __init__(self, limits: Limits, *, now: float = 0.0) -> None:
        self._families: dict[str, Family] = {}
        self._limits = limits
        self._reserved: frozenset[str] = frozenset()
        self._count = 0
        self._now = now
        self.expired = 0

    def __len__(self) -> int:
        """The number of series."""
        return self._count

    def reserve(self, names: frozenset[str]) -> None:
        """Give none of these names to a client's metric: the bridge shows metrics of its own by them."""
        self._reserved = names

    def series(self, metric: str, kind: Kind, labels: Mapping[str, str], options: SeriesOptions) -> Series:
        """The series of these labels, made where there is none. SampleRefused says why there can be none."""
        if not metric:
            raise SampleRefused("empty_metric_name")
        family = self._families.get(metric) or self._new_family(metric, kind, options)
        if family.kind is not kind or family.type is not _type_of(kind, options):
            raise SampleRefused("conflict")
        text = escaped_labels(labels)
        series = family.series.get(text)
        if series is None:
            series = self._new_series(metric, family, labels, text)
        series.ttl = options.ttl
        family.mortal = family.mortal or options.ttl > 0
        return series

    def sweep(self, now: float) -> bool:
        """Move windows on, and end series that outlived their `ttl`; whether any did."""
        self._now = now
        expired = 0
        for metric, family in tuple(self._families.items()):
            if family.intervals is not None and (intervals := family.intervals.ended(now)):
                for series in family.series.values():
                    series.advance(intervals)
            if family.mortal:
                ended = [text for text, series in family.series.items() if _has_ended(series, now)]
                for text in ended:
                    del family.series[text]
                expired += len(ended)
                if not family.series:
                    del self._families[metric]
        self._count -= expired
        self.expired += expired
        return expired > 0

    def holds(self, metric: str, series: Series) -> bool:
        """Whether this series is still the one of its labels."""
        family = self._families.get(metric)
        return family is not None and family.series.get(series.labels) is series

    def count_by_type(self) -> Mapping[FamilyType, int]:
        """How many metrics there are."""
        counts = dict.fromkeys(FamilyType, 0)
        for family in self._families.values():
            counts[family.type] += 1
        return counts

    def text(self) -> Iterator[str]:
        """Everything in Prometheus' text format 0.0.4, in slices of three milliseconds at most.

        Samples may be taken between slices. It is written here and not by `prometheus_client`, which ends
        every counter's name in `_total`, and takes twenty times as long, at once: datagrams would be lost.
        """
        for metric, family in tuple(self._families.items()):
            text = family.options.help.replace("\\", r"\\").replace("\n", r"\n")
            head = f"# HELP {metric} {text}\n# TYPE {metric} {family.type.value}\n"
            series = tuple(family.series.values())
            for start in range(0, len(series), _SLICE):
                yield head + "".join(one.lines(metric) for one in series[start : start + _SLICE])
                head = ""

    def _new_family(self, metric: str, kind: Kind, options: SeriesOptions) -> Family:
        """A family, not yet kept: it is with its first series."""
        type_ = _type_of(kind, options)
        names = {metric, *(metric + suffix for suffix in _SUFFIXES[type_])}
        if not names.isdisjoint(self._reserved) or not names.isdisjoint(self._families):
            raise SampleRefused("conflict")
        for suffix in ("_bucket", "_sum", "_count"):
            if metric.endswith(suffix):
                other = self._families.get(metric.removesuffix(suffix))
                if other is not None and suffix in _SUFFIXES[other.type]:
                    raise SampleRefused("conflict")
        intervals = None
        if kind is Kind.SET:
            intervals = Intervals(_SET_INTERVAL, 2, self._now)
        elif type_ is FamilyType.SUMMARY:
            slots = options.observer.age_buckets
            intervals = Intervals(options.observer.max_age / slots, slots, self._now)
        return Family(type_, kind, options, intervals=intervals)

    def _new_series(self, metric: str, family: Family, labels: Mapping[str, str], text: str) -> Series:
        own = _OWN_LABEL.get(family.type)
        if any(label == own or label.startswith("__") for label in labels):
            raise SampleRefused("reserved_label")
        if len(family.series) >= self._limits.per_metric:
            raise SampleRefused("series_limit_of_metric")
        if self._count >= self._limits.total:
            raise SampleRefused("series_limit")
        series = self._make(family, text)
        series.fed_at = self._now
        family.series[text] = series
        self._families[metric] = family
        self._count += 1
        return series

    def _make(self, family: Family, labels: str) -> Series:
        if family.kind is Kind.SET:
            return SetSeries(labels)
        match family.type:
            case FamilyType.HISTOGRAM:
                return HistogramSeries(labels, family.options.observer.buckets)
            case FamilyType.SUMMARY:
                return SummarySeries(labels, family.options.observer)
            case FamilyType.COUNTER | FamilyType.GAUGE:
                return ValueSeries(labels)


def escaped_labels(labels: Mapping[str, str]) -> str:
    """Labels by name, as the text format has them between its braces."""
    escaped = (
        (name, value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\""))
        for name, value in labels.items()
    )
    return ",".join(f'{name}="{value}"' for name, value in sorted(escaped))


def _type_of(kind: Kind, options: SeriesOptions) -> FamilyType:
    match kind:
        case Kind.COUNTER:
            return FamilyType.COUNTER
        case Kind.GAUGE | Kind.SET:
            return FamilyType.GAUGE
        case Kind.OBSERVER:
            is_histogram = options.observer.type is ObserverType.HISTOGRAM
            return FamilyType.HISTOGRAM if is_histogram else FamilyType.SUMMARY


def _has_ended(series: Series, now: float) -> bool:
    if series.live:
        series.live = False
        series.fed_at = now
    return 0 < series.ttl < now - series.fed_at
