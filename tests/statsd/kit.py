"""A bridge from a mapping text, and what it would show."""

from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from isthmus.statsd.bridge import Bridge
from isthmus.statsd.families import Families, Limits
from isthmus.statsd.mapper import Mapper
from isthmus.statsd.mapping_file import read_mapping_file
from isthmus.statsd.rules import Rules, check_mapping

Shown = Mapping[str, float]


def rules(mapping: str, warnings: list[str] | None = None) -> Rules:
    told = [] if warnings is None else warnings
    return check_mapping(read_mapping_file(mapping), lambda field, _: told.append(field))


def bridge(mapping: str = "", *, limits: Limits | None = None, **options: Any) -> Bridge:
    return Bridge(Mapper(rules(mapping)), Families(limits or Limits()), **options)


def shown(bridge: Bridge) -> Shown:
    """What is shown: `name{label=value,…}` to the value. Prometheus' own parser must take it too."""
    text = "".join(bridge.families.text())
    assert all(text_string_to_metric_families(text))
    lines = (line.rpartition(" ") for line in text.split("\n") if line and line[0] != "#")
    return {series.replace('"', ""): float(value) for series, _, value in lines}


def after(*packets: bytes, mapping: str = "") -> Shown:
    """What a new bridge shows after these packets."""
    fresh = bridge(mapping)
    for packet in packets:
        fresh.take(packet)
    return shown(fresh)
