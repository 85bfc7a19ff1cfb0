from collections.abc import Mapping

import pytest

from isthmus.statsd.line import LONGEST_LINE, Kind, Sample, read_line, read_number
from isthmus.statsd.tags import TagStyles

ALL = TagStyles()


def one(line: bytes, styles: TagStyles = ALL) -> Sample:
    reading = read_line(line, styles)
    assert not reading.refused
    (sample,) = reading.samples
    return sample


def faults(line: bytes) -> list[str]:
    reading = read_line(line, ALL)
    assert not reading.samples
    return reading.refused


@pytest.mark.parametrize(
    ("line", "kind", "divisor"),
    [
        (b"foo:2|c", Kind.COUNTER, 1),
        (b"foo:2|g", Kind.GAUGE, 1),
        (b"foo:2|ms", Kind.OBSERVER, 1000),
        (b"foo:2|h", Kind.OBSERVER, 1),
        (b"foo:2|d", Kind.OBSERVER, 1),
        (b"foo:2|s", Kind.SET, 1),
    ],
)
def test_every_type_is_read(line: bytes, kind: Kind, divisor: float):
    assert one(line) == Sample("foo", kind, b"2", divisor, 1.0, {})


@pytest.mark.parametrize(
    ("line", "name", "labels"),
    [
        (b"foo:1|c|#tag1:bar,tag2:baz", "foo", {"tag1": "bar", "tag2": "baz"}),
        (b"foo:1|c|#tag1:bar,#tag2:baz", "foo", {"tag1": "bar", "tag2": "baz"}),
        (b"foo:1|c|@0.5|#tag1:foo:bar", "foo", {"tag1": "foo:bar"}),
        (b"foo,tag1=bar,tag2=baz:1|c", "foo", {"tag1": "bar", "tag2": "baz"}),
        (b"foo#tag1=bar,tag2=baz:1|c", "foo", {"tag1": "bar", "tag2": "baz"}),
        (b"foo.[tag1=bar,tag2=baz]test:1|c", "foo.test", {"tag1": "bar", "tag2": "baz"}),
        (b"[tag1=bar]foo.test:1|c", "foo.test", {"tag1": "bar"}),
        (b"foo.[]test:1|c", "foo.test", {}),
        (b"foo:1|c|#09digits:0,tag.with.dots:1", "foo", {"_09digits": "0", "tag_with_dots": "1"}),
        (b"foo:1|c|#a:b|c:abcdef", "foo", {"a": "b", "container_id": "abcdef"}),
        (b"foo:1|c|#a:b|T1656581400", "foo", {"a": "b"}),
    ],
)
def test_tags_are_read_in_every_style(line: bytes, name: str, labels: Mapping[str, str]):
    sample = one(line)
    assert (sample.name, sample.labels) == (name, labels)


@pytest.mark.parametrize(
    ("line", "labels", "count"),
    [
        (b"foo:1|c|#without_value", {}, 1),
        (b"foo:1|c|#without_value,tag:value", {"tag": "value"}, 1),
        (b"foo:1|c|#tag:value,,", {"tag": "value"}, 1),
        (b"foo:1|c|#:value,tag:", {}, 2),
        (b"foo.[tag1,tag2]test:1|c", {}, 2),
        (b"[tag1=bar,tag2=bazfoo.test:1|c", {}, 1),
    ],
)
def test_a_tag_without_key_or_value_is_counted_and_the_sample_stands(
    line: bytes, labels: Mapping[str, str], count: int
):
    reading = read_line(line, ALL)
    assert (reading.samples[0].labels, reading.tag_faults) == (labels, count)
    assert reading.shape is None


def test_a_style_that_is_off_is_part_of_the_name():
    off = TagStyles(dogstatsd=False, influxdb=False, librato=False, signalfx=False)
    assert one(b"foo,a=b:1|c", off).name == "foo,a=b"
    assert one(b"foo#a=b:1|c", off).name == "foo#a=b"
    assert one(b"foo[a=b]:1|c", off).name == "foo[a=b]"
    assert one(b"foo:1|c|#a:b", off).labels == {}


@pytest.mark.parametrize(
    ("line", "reasons"),
    [
        (b"foo", ["malformed_line"]),
        (b":1|c", ["malformed_line"]),
        (b"foo:1|c|#tag:\xc3\x28", ["malformed_line"]),
        (b"foo:1", ["not_enough_parts_after_colon"]),
        (b"foo:x|c", ["malformed_value"]),
        (b"foo:|c", ["malformed_value"]),
        (b"foo:1_0|c", ["malformed_value"]),
        (b"foo: 1|c", ["malformed_value"]),
        (b"foo:nan|c", ["malformed_value"]),
        (b"foo:1e999|c", ["malformed_value"]),
        (b"foo:" + b"1" * 65 + b"|c", ["malformed_value"]),
        (b"foo:1|", ["illegal_event"]),
        (b"foo:1|x", ["illegal_event"]),
        (b"foo:|s", ["illegal_event"]),
        (b"foo:1|c|", ["malformed_component"]),
        (b"foo:1|c|@0.1||#a:b", ["malformed_component"]),
        (b"foo:1|c|@1|@1|@1|@1|@1", ["malformed_component"]),
        (b"foo:1|c|0.1", ["invalid_sample_factor"]),
        (b"foo:1|c|cat", ["malformed_container_id"]),
        (b"foo:1:2|c", ["invalid_extended_aggregate_type"]),
        (b"foo:1:2|s", ["invalid_extended_aggregate_type"]),
        (b"foo#a=b:1|c|#c:d", ["mixed_tagging_styles"]),
        (b"foo,a=b:1|c|#c:d", ["mixed_tagging_styles"]),
        (b"foo:1|c:x|c:2|x", ["malformed_value", "illegal_event"]),
        (b"f" * LONGEST_LINE + b":1|c", ["line_too_long"]),
    ],
)
def test_every_fault_has_a_reason(line: bytes, reasons: list[str]):
    reading = read_line(line, ALL)
    assert reading.refused == reasons
    assert len(reading.samples) == reading.seen - len([one for one in reasons if reading.seen])


def test_a_line_holds_several_samples():
    reading = read_line(b"foo:1|c:2|g:3|ms", ALL)
    assert [(one.kind, one.value) for one in reading.samples] == [
        (Kind.COUNTER, b"1"),
        (Kind.GAUGE, b"2"),
        (Kind.OBSERVER, b"3"),
    ]


def test_a_sample_holds_several_values_of_dogstatsd():
    reading = read_line(b"foo:0.5:120:3000|ms|@0.5|#a:b", ALL)
    assert [one.value for one in reading.samples] == [b"0.5", b"120", b"3000"]
    assert {(one.rate, one.labels["a"]) for one in reading.samples} == {(0.5, "b")}


@pytest.mark.parametrize("rate", [b"x", b"", b"0", b"-1", b"2", b"nan"])
def test_a_bad_rate_is_counted_and_the_sample_taken_as_unsampled(rate: bytes):
    reading = read_line(b"foo:1|c|@" + rate, ALL)
    assert reading.refused == ["invalid_sample_factor"]
    assert reading.samples[0].rate == 1


def test_only_a_line_that_always_reads_the_same_has_a_shape():
    assert read_line(b"foo:1|c|@0.1|#a:b", ALL).shape == (b"foo", b"c|@0.1|#a:b")
    assert read_line("größe,ä=ö:1|c".encode(), ALL).shape == ("größe,ä=ö".encode(), b"c")
    for line in (
        b"foo:1|c:2|c",
        b"foo:1:2|ms",
        b"foo:1|c|T1",
        b"fo|o:1|c",
        b"foo:x|c",
        b"f" * 1100 + b":1|c",
    ):
        assert read_line(line, ALL).shape is None


@pytest.mark.parametrize("text", [b"1", b"-1.5", b"+2", b".5", b"5.", b"1e-3"])
def test_numbers_are_decimal(text: bytes):
    assert read_number(text) == float(text)
