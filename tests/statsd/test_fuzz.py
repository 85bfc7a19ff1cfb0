"""Any bytes: no crash, no growth, every sample accounted for."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.statsd.bridge import Bridge
from isthmus.statsd.families import Limits
from tests.statsd.kit import bridge, shown

LIMITS = Limits(per_metric=20, total=200)
MAPPING = """
defaults: {ttl: 30s}
mappings:
- {match: "a.*", name: "m_$1", labels: {field: "$1"}, observer_type: histogram}
- {match: "*.b", name: "${1}_b", match_metric_type: counter}
- {match: "dr.*", action: drop}
- {match: "([ab])c", match_type: regex, name: "$1", scale: 0.5}
"""
PIECES = (
    *(bytes((char,)) for char in b'abc.:||#,=[]@+-1gsh \r\\"'),
    *(b"dr", b"le", b"_sum", b"0.5", b"1e9", b"ms", b"\xff", b"\xc3\xa4"),
    *(b"|c", b":1|c", b":1|g", b":7|ms", b"|#a:b", b"|@0.1", b"|T1"),
)
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3)), max_size=20).map(b"".join)
PACKETS = st.lists(TEXTS, max_size=50).map(b"\n".join)


def check(taken: Bridge) -> None:
    counts = taken.counts
    assert len(taken.families) <= LIMITS.total
    assert len(shown(taken)) <= LIMITS.total * 16
    assert counts.taken() + counts.dropped_by_mapping.samples <= counts.samples()


def accounted(taken: Bridge) -> int:
    """Everything that was taken or refused for a reason."""
    counts = taken.counts
    return counts.samples() - counts.bad_samples + counts.sample_errors.total()


@settings(max_examples=400, deadline=None)
@given(st.lists(PACKETS, max_size=4))
def test_no_packet_stops_the_bridge_or_makes_it_grow(packets: list[bytes]):
    taken = bridge(MAPPING, limits=LIMITS, cache_size=50)
    for now, packet in enumerate(packets):
        taken.take(packet)
        taken.sweep(now * 20.0)
    check(taken)


@settings(max_examples=300, deadline=None)
@given(TEXTS.filter(lambda line: b"\n" not in line and line.removesuffix(b"\r")))
def test_every_line_is_taken_or_refused_for_a_reason(line: bytes):
    taken = bridge(MAPPING, limits=LIMITS)
    taken.take(line)
    first = accounted(taken)
    taken.take(line)
    assert first > 0
    assert accounted(taken) == 2 * first


def lines(seed: int, count: int) -> Iterator[bytes]:
    """Lines that are nearly right: pieces put together by chance."""
    source = random.Random(seed)
    for _ in range(count):
        if source.random() < 0.3:
            yield b"%s.%d:%d|%s" % (
                source.choice((b"a", b"dr", b"x")),
                source.randrange(10_000),
                source.randrange(100),
                source.choice((b"c", b"g", b"ms", b"s")),
            )
        else:
            yield b"".join(source.choices(PIECES, k=source.randrange(1, 12)))


def feed(count: int) -> Bridge:
    taken = bridge(MAPPING, limits=LIMITS, cache_size=1000)
    for number, line in enumerate(lines(7, count)):
        before = accounted(taken)
        taken.take(line)
        assert accounted(taken) > before or not line.removesuffix(b"\r").strip(b"\n"), line
        if number % 10_000 == 0:
            taken.sweep(number / 1000)
            check(taken)
    check(taken)
    return taken


def test_ten_thousand_lines_are_each_accounted_for():
    assert feed(10_000).counts.lines == 10_000


@pytest.mark.soak
def test_a_million_lines_leave_nothing_behind():
    taken = feed(1_000_000)
    counts = taken.counts
    assert len(counts.sample_errors) < 20
    assert len(counts.conflicts.counts) < 1100
    assert len(counts.over_limits.counts) < 1100
