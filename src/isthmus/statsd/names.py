"""Prometheus' names out of statsd's, as statsd_exporter makes them."""

import re

_UNFIT = re.compile(r"-+|[^a-zA-Z0-9_]")


def escape_name(name: str) -> str:
    """A name for Prometheus: an unfit character becomes `_`, dashes in a row one; a first digit gets one."""
    if name.isidentifier() and name.isascii():
        return name
    escaped = _UNFIT.sub("_", name)
    return "_" + escaped if escaped[:1].isdigit() else escaped
