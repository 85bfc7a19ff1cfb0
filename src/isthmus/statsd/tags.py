"""Tags in four spellings: DogStatsD's behind the sample; Librato's, InfluxDB's and SignalFX's in the name.

A tag without a key or a value is a fault, counted and left out; the sample stands (statsd_exporter's README,
"Tagging Extensions").
"""

from dataclasses import dataclass, field

from isthmus.statsd.names import escape_name


@dataclass(frozen=True, slots=True)
class TagStyles:
    """Which spellings are read; a character of a style that is not read is part of the name."""

    dogstatsd: bool = True
    influxdb: bool = True
    librato: bool = True
    signalfx: bool = True


@dataclass(slots=True)
class Tags:
    """The labels of one line, and how many tags were none."""

    labels: dict[str, str] = field(default_factory=dict[str, str])
    faults: int = 0


def read_dogstatsd_tags(text: str, labels: dict[str, str]) -> int:
    """Add `k:v,k2:v2` to `labels`; gives the number of faults."""
    faults = 0
    for tag in _tags(text):
        faults += not _add(tag.removeprefix("#"), ":", labels)
    return faults


def split_name(name: str, styles: TagStyles) -> tuple[str, Tags]:
    """The metric's name, and the tags that the name carries: `name[k=v]`, `name#k=v` or `name,k=v`."""
    tags = Tags()
    if styles.signalfx and ("[" in name or "]" in name):
        start, end = name.find("["), name.find("]")
        if 0 <= start < end:
            _read_pairs(name[start + 1 : end], tags)
            return name[:start] + name[end + 1 :], tags
        tags.faults = 1
        return name, tags
    hash_ = name.find("#") if styles.librato else -1
    comma = name.find(",") if styles.influxdb else -1
    place = max(hash_, comma) if min(hash_, comma) < 0 else min(hash_, comma)
    if place < 0:
        return name, tags
    _read_pairs(name[place + 1 :], tags)
    return name[:place], tags


def _read_pairs(text: str, tags: Tags) -> None:
    for tag in _tags(text):
        tags.faults += not _add(tag, "=", tags.labels)


def _tags(text: str) -> list[str]:
    """The tags between commas; one comma at the end is no tag more."""
    return text.removesuffix(",").split(",") if text else []


def _add(tag: str, separator: str, labels: dict[str, str]) -> bool:
    key, _, value = tag.partition(separator)
    if not key or not value:
        return False
    labels[escape_name(key)] = value
    return True
