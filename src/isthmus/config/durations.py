"""Lengths of time as Go and protobuf's JSON spell them: `10s`, `1m30s`, `250ms`, `0s`. Nothing negative."""

import re
from datetime import timedelta

_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
PATTERN = r"^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$"
"""The same for schemas."""
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(timedelta):
    """A `timedelta` that configuration spells the way Go does (`time.ParseDuration`)."""

    __slots__ = ()


def duration_text(length: timedelta) -> str:
    """As protobuf's JSON spells it: `10s`, `0.250s`, with no more digits than it needs."""
    whole, rest = divmod(round(length / timedelta(microseconds=1)), 1_000_000)
    if not rest:
        return f"{whole}s"
    return f"{whole}.{rest // 1000:03}s" if not rest % 1000 else f"{whole}.{rest:06}s"


def parse_duration(text: str) -> Duration:
    """Read a duration. ValueError where the text is none; a bare number is refused, having no unit."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"`{text}` is not a duration such as `10s`, `1m30s` or `250ms`")
    return Duration(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
