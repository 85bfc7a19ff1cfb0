"""statsd_exporter's mapping file: its YAML into structs, each field's type checked, no more.

Every scalar is read as text and then as the type its field has, as a Go reader does (`code: 200` is a label's
text, `scale: 1e-6` a number). Unknown fields are refused.
"""

import re
from enum import Enum
from typing import Any

import msgspec
import yaml
from yaml.constructor import ConstructorError

from isthmus.config.durations import Duration, parse_duration
from isthmus.lib.yaml_text import NotYaml, read_yaml
from isthmus.statsd.errors import MappingRefused


class MatchType(Enum):
    """How `match` is written."""

    GLOB = "glob"
    REGEX = "regex"


class ObserverType(Enum):
    """What timers, histograms and distributions become."""

    SUMMARY = "summary"
    HISTOGRAM = "histogram"


class Action(Enum):
    """What happens to a sample that matches."""

    MAP = "map"
    DROP = "drop"


class MetricType(Enum):
    """Which samples a mapping concerns. Sets are shown as gauges and count as such."""

    COUNTER = "counter"
    GAUGE = "gauge"
    OBSERVER = "observer"


class Number(float):
    """A number as YAML spells it (`.5`, `1e-6`, `.inf`)."""

    __slots__ = ()


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping of the file."""


class Quantile(_Part, frozen=True):
    """One quantile of a summary. `error` is accepted; see `statsd.quantiles` for what ours is."""

    quantile: Number
    error: Number = Number()


class SummaryOptions(_Part, frozen=True):
    """Unset fields are those of `defaults`."""

    quantiles: tuple[Quantile, ...] = ()
    max_age: Duration = Duration()
    age_buckets: int = 0
    buf_cap: int | None = None


class HistogramOptions(_Part, frozen=True):
    """Upper bounds, rising; `+Inf` is added."""

    buckets: tuple[Number, ...] = ()
    native_histogram_bucket_factor: Number | None = None
    native_histogram_max_buckets: int | None = None


class Defaults(_Part, frozen=True):
    """What mappings inherit that do not say otherwise."""

    observer_type: ObserverType | None = None
    timer_type: ObserverType | None = None
    match_type: MatchType | None = None
    glob_disable_ordering: bool = False
    ttl: Duration = Duration()
    summary_options: SummaryOptions = SummaryOptions()
    histogram_options: HistogramOptions = HistogramOptions()


class Entry(_Part, frozen=True):
    """One of `mappings`. `timer_type` is the old name of `observer_type`."""

    match: str
    name: str = ""
    labels: dict[str, str] = {}
    help: str = ""
    match_type: MatchType | None = None
    match_metric_type: MetricType | None = None
    action: Action | None = None
    observer_type: ObserverType | None = None
    timer_type: ObserverType | None = None
    honor_labels: bool = False
    ttl: Duration = Duration()
    scale: Number | None = None
    summary_options: SummaryOptions | None = None
    histogram_options: HistogramOptions | None = None


class MappingFile(_Part, frozen=True):
    """The whole file."""

    defaults: Defaults = Defaults()
    mappings: tuple[Entry, ...] = ()


def read_mapping_file(text: str) -> MappingFile:
    """Read the YAML; empty text is a file without mappings. Raises MappingRefused naming field or line."""
    try:
        found: object = read_yaml(text, _Loader)
    except NotYaml as error:
        where = f"line {error.line}" if error.line else ""
        raise MappingRefused(where, f"it is not YAML ({error.problem})") from error
    if not found:
        return MappingFile()
    try:
        return msgspec.convert(found, MappingFile, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        raise MappingRefused(re.sub(r"^\.", "", path.rstrip("`")), reason[:1].lower() + reason[1:]) from error


class _Loader(yaml.CBaseLoader):
    """Every scalar a text, and no key twice. One without a value is taken as not being there."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            raise ConstructorError(None, None, "a key is there twice", node.start_mark)
        return {key: value for key, value in found.items() if value != ""}


def _decode(wanted: type, value: Any) -> Any:
    if wanted is Duration:
        return Duration() if value == "0" else parse_duration(str(value))
    if wanted is Number:
        try:
            return Number(re.sub(r"\.inf$", "inf", value))
        except (TypeError, ValueError):
            raise ValueError(f"`{value}` is not a number") from None
    raise NotImplementedError(wanted)
