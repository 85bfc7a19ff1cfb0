"""The bridge itself: packets in, series changed. No I/O and no clock.

A line whose shape (all but its value) was seen before costs one look-up and one addition; any other is read
in full, mapped, and its shape remembered. Shapes are remembered in two generations: when the younger is full,
the elder is forgotten, so that memory is bounded and what is in use stays.
"""

from isthmus.statsd.counts import Counts
from isthmus.statsd.errors import SampleRefused
from isthmus.statsd.families import Families
from isthmus.statsd.line import Kind, Sample, Shape, read_line, read_member, read_number
from isthmus.statsd.mapper import Mapper
from isthmus.statsd.series import HistogramSeries, SetSeries, SummarySeries, ValueSeries
from isthmus.statsd.sinks import CounterSink, DropSink, GaugeSink, ObserverSink, SetSink, Sink
from isthmus.statsd.tags import TagStyles

DEFAULT_CACHE_SIZE = 100_000
_ALL_STYLES = TagStyles()


class Bridge:
    """Takes packets, keeps `families`, counts into `counts`."""

    def __init__(
        self,
        mapper: Mapper,
        families: Families,
        *,
        styles: TagStyles = _ALL_STYLES,
        cache_size: int = DEFAULT_CACHE_SIZE,
    ) -> None:
        self.families = families
        self.counts = Counts()
        self._mapper = mapper
        self._styles = styles
        self._generation = max(1, cache_size // 2)
        self._known: dict[Shape, Sink] = {}
        self._elder: dict[Shape, Sink] = {}

    @property
    def mapper(self) -> Mapper:
        """The mapping in force."""
        return self._mapper

    def remap(self, mapper: Mapper) -> None:
        """Put another mapping in force. Series stay; samples go by the new one."""
        self._mapper = mapper
        self._known.clear()
        self._elder.clear()

    def sweep(self, now: float) -> None:
        """Move windows on and end what nobody feeds; about once a second."""
        if self.families.sweep(now):
            for shapes in (self._known, self._elder):
                for shape, sink in tuple(shapes.items()):
                    if sink.series is not None and not self.families.holds(sink.metric, sink.series):
                        del shapes[shape]

    def take(self, packet: bytes) -> None:
        """Take the lines of a datagram, or whole lines of a stream. Nothing in them makes it fail."""
        lines = packet.split(b"\n")
        if not lines[-1]:
            lines.pop()
        self.counts.lines += len(lines)
        known = self._known
        for line in lines:
            # A line that lacks a colon has no value here, which no sink takes.
            try:
                head, _, tail = line.partition(b"|")
                name, _, value = head.partition(b":")
                known[name, tail].take(value)
            except (KeyError, ValueError):
                self._read(line)
                known = self._known

    def _read(self, line: bytes) -> None:
        """Read a line in full: of an unknown shape, or at fault."""
        line = line.removesuffix(b"\r")
        if not line:
            return
        reading = read_line(line, self._styles)
        counts = self.counts
        for reason in reading.refused:
            counts.sample_errors[reason] += 1
        counts.tag_errors += reading.tag_faults
        counts.bad_samples += reading.seen - len(reading.samples)
        for sample in reading.samples:
            sink = self._sink(sample)
            if sink is None:
                continue
            sink.take(sample.value)
            if reading.shape is not None:
                self._remember(reading.shape, sink)

    def _remember(self, shape: Shape, sink: Sink) -> None:
        if len(self._known) >= self._generation:
            self._elder, self._known = self._known, {}
        self._known[shape] = sink

    def _sink(self, sample: Sample) -> Sink | None:
        """The end of samples like this one, None (and counted) where there can be none."""
        counts, kind = self.counts, sample.kind
        target = self._mapper.find(sample.name, kind)
        if target.drop:
            return DropSink(counts.dropped_by_mapping, read_member if kind is Kind.SET else read_number)
        labels = {**sample.labels, **target.labels}
        if target.honor_labels:
            labels.update(sample.labels)
        options = target.options
        if kind is Kind.COUNTER and read_number(sample.value) * options.scale < 0:
            counts.event_errors["illegal_negative_counter"] += 1
            return None
        try:
            series = self.families.series(target.metric, kind, labels, options)
        except SampleRefused as refused:
            counts.refuse(kind, target.metric, refused.reason)
            return None
        tally = counts.tally(kind, mapped=target.mapped, tagged=bool(sample.labels))
        match series:
            case ValueSeries() if kind is Kind.COUNTER:
                return CounterSink(target.metric, series, tally, sample.rate, options.scale)
            case ValueSeries():
                return GaugeSink(target.metric, series, tally, options.scale)
            case HistogramSeries() | SummarySeries():
                weight = int(1 / sample.rate)
                return ObserverSink(target.metric, series, tally, sample.divisor, options.scale, weight)
            case SetSeries():
                return SetSink(target.metric, series, tally)
            case _:
                raise AssertionError(series)
