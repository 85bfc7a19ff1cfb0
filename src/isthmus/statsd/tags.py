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
    return sum(not _add(tag.removeprefix("#"), ":", labels) for tag in _tags(text))


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
    for place, char in enumerate(name):
        if (char == "#" and styles.librato) or (char == "," and styles.influxdb):
            _read_pairs(name[place + 1 :], tags)
            return name[:place], tags
    return name, tags


def _read_pairs(text: str, tags: Tags) -> None:
    tags.faults += sum(not _add(tag, "=", tags.labels) for tag in _tags(text))


def _tags(text: str) -> list[str]:
    """The tags between commas; one comma at the end is no tag more."""
    return text.removesuffix(",").split(",") if text else []


def _add(tag: str, separator: str, labels: dict[str, str]) -> bool:
    key, _, value = tag.partition(separator)
    if not key or not value:
        return False
    labels[escape_name(key)] = value
    return True
