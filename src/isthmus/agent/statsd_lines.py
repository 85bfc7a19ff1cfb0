"""What is changed of Envoy's DogStatsD lines on their way. Pure.

Envoy writes tags as they are, but the name of a cluster holds `|`, which ends a field of a line: it becomes
tags of its own. And a counter that did not count is left out: Envoy repeats every one at each flush.
"""

import re

_CLUSTER = re.compile(rb"\bcluster_name:(outbound|inbound)\|(\d+)\|([^|,\n]*)\|([^|,\n]*)")
_IDLE = b":0|c"


def shortened(datagram: bytes) -> bytes:
    """The lines worth sending; empty where none is."""
    lines = [line for line in datagram.split(b"\n") if line and _IDLE not in line]
    return _CLUSTER.sub(_tags, b"\n".join(lines))


def _tags(found: re.Match[bytes]) -> bytes:
    """`outbound|80|v1|echo.demo.svc…` → direction, port, subset, service; those that are empty left out."""
    pairs = zip((b"direction", b"port", b"subset", b"service"), found.groups(), strict=True)
    return b",".join(name + b":" + value for name, value in pairs if value)
