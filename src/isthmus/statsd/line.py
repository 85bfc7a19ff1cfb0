"""One line of statsd into samples: pure, and the only place that knows the dialects.

`NAME:VALUE|TYPE[|@RATE][|#TAGS]`, with several samples a line (`a:1|c:2|c`), DogStatsD's many values
(`a:1:2:3|ms`), container id (`|c:`) and timestamp (`|T`, of no use to who is scraped), and four spellings of
tags. The rules and the reasons of faults are statsd_exporter's (README, "Tagging Extensions", and its metric
`statsd_exporter_sample_errors_total`); sets are ours. It keeps nothing and counts nothing.
"""

from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from math import isfinite

import msgspec

from isthmus.statsd.tags import Tags, TagStyles, read_dogstatsd_tags, split_name

LONGEST_LINE = 8192
"""Bytes. DogStatsD's clients send at most this in one datagram."""
_LONGEST_NUMBER = 64
_MOST_COMPONENTS = 6
_SHORT_SHAPE = 1024


Shape = tuple[bytes, bytes]


class Kind(Enum):
    """What a sample is, as `match_metric_type` and the counts name it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    OBSERVER = "observer"
    SET = "set"


_TYPES: Mapping[str, tuple[Kind, float]] = {
    "c": (Kind.COUNTER, 1.0),
    "g": (Kind.GAUGE, 1.0),
    "ms": (Kind.OBSERVER, 1000.0),
    "h": (Kind.OBSERVER, 1.0),
    "d": (Kind.OBSERVER, 1.0),
    "s": (Kind.SET, 1.0),
}


class Sample(msgspec.Struct, frozen=True):
    """One sample, its value checked but not read: `divisor` takes it to the base unit (1000 for `ms`).

    `rate` is the sampling rate, in (0, 1].
    """

    name: str
    kind: Kind
    value: bytes
    divisor: float
    rate: float
    labels: Mapping[str, str]


class Reading(msgspec.Struct):
    """What a line held. `refused` are the reasons of faults, one for each; `seen` counts all samples.

    `shape` is what stands before the value and after it, where every line of that shape reads the same; else
    it is None.
    """

    samples: list[Sample] = []
    refused: list[str] = []
    tag_faults: int = 0
    seen: int = 0
    shape: Shape | None = None


@lru_cache(maxsize=8192)
def read_number(text: bytes) -> float:
    """A finite decimal number; ValueError for anything else (also NaN and infinity, which would stick)."""
    if len(text) > _LONGEST_NUMBER or text.strip(b"0123456789.eE+-"):
        raise ValueError
    number = float(text)
    if not isfinite(number):
        raise ValueError
    return number


def read_member(text: bytes) -> bytes:
    """A value of a set: any text but none. ValueError too for several values, which no set takes."""
    if not text or b":" in text:
        raise ValueError
    return text


def read_line(line: bytes, styles: TagStyles) -> Reading:
    """The samples of one line that is not empty, without its line end."""
    reading = Reading()
    if len(line) > LONGEST_LINE:
        reading.refused.append("line_too_long")
        return reading
    try:
        name, colon, rest = line.decode().partition(":")
    except UnicodeDecodeError:
        name, colon, rest = "", "", ""
    if not colon or not name:
        reading.refused.append("malformed_line")
        return reading
    metric, tags = split_name(name, styles)
    reading.tag_faults = tags.faults
    texts = _split_samples(rest, tags, reading)
    labels = dict(tags.labels)
    lasting = True
    for text in texts:
        reading.seen += 1
        lasting = _read_sample(metric, text, labels, styles, reading) and lasting
    if lasting and len(texts) == 1 and not (reading.refused or reading.tag_faults or "|" in name):
        head, _, tail = line.partition(b"|")
        before = head.partition(b":")[0]
        reading.shape = (before, tail) if len(before) + len(tail) <= _SHORT_SHAPE else None
    return reading


def _split_samples(rest: str, tags: Tags, reading: Reading) -> list[str]:
    """The samples behind the name: `VALUE|TYPE…` each."""
    dogstatsd = "|#" in rest
    if dogstatsd and tags.labels:
        reading.refused.append("mixed_tagging_styles")
        return []
    values, bar, suffix = rest.partition("|")
    if not bar:
        reading.refused.append("not_enough_parts_after_colon")
        return []
    if ":" in values:
        if suffix.partition("|")[0] in ("ms", "h", "d"):
            return [f"{value}|{suffix}" for value in values.split(":")]
        reading.refused.append("invalid_extended_aggregate_type")
        return []
    return [rest] if dogstatsd else rest.split(":")


def _read_sample(metric: str, text: str, labels: dict[str, str], styles: TagStyles, reading: Reading) -> bool:
    """Read one sample into `reading`; whether another line of this shape would read the same."""
    components = text.split("|")
    if not 2 <= len(components) <= _MOST_COMPONENTS:
        reading.refused.append("malformed_component")
        return False
    value, letter, *options = components
    kind, divisor = _TYPES.get(letter, (None, 1.0))
    encoded = value.encode()
    if kind is not Kind.SET and not _is_number(encoded):
        reading.refused.append("malformed_value")
        return False
    if not all(options):
        reading.refused.append("malformed_component")
        return False
    rate, lasting = 1.0, True
    for option in options:
        match option[0]:
            case "@":
                rate = _read_rate(option[1:], reading)
            case "#":
                if styles.dogstatsd:
                    reading.tag_faults += read_dogstatsd_tags(option[1:], labels)
            case "c" if option.startswith("c:") and len(option) > 2:
                labels["container_id"] = option[2:]
            case "c":
                reading.refused.append("malformed_container_id")
                return False
            case "T":
                lasting = False
            case _:
                reading.refused.append("invalid_sample_factor")
                return False
    if kind is None or not value:
        reading.refused.append("illegal_event")
        return False
    reading.samples.append(Sample(metric, kind, encoded, divisor, rate, dict(labels)))
    return lasting


def _read_rate(text: str, reading: Reading) -> float:
    """The sampling rate. One that is none is counted, and the sample taken as unsampled."""
    try:
        rate = read_number(text.encode())
    except ValueError:
        rate = 0.0
    if 0 < rate <= 1:
        return rate
    reading.refused.append("invalid_sample_factor")
    return 1.0


def _is_number(text: bytes) -> bool:
    try:
        read_number(text)
    except ValueError:
        return False
    return True
