"""What is changed of Envoy's DogStatsD lines on their way. Pure.

Envoy writes tags as they are, but the name of a cluster holds `|`, which ends a field of a line: it becomes
tags of its own. And a counter that did not count is left out: Envoy repeats every one at each flush.
"""

import re
from functools import lru_cache

_CLUSTER = re.compile(rb"cluster_name:((?:out|in)bound\|[^,\n]*)")
_PARTS = (b"direction", b"port", b"subset", b"service")
_IDLE = b":0|c"
_TAGS = b"|#"
_MOST_NAMES = 4096


def shortened(datagram: bytes, tag: bytes = b"") -> bytes:
    """The lines worth sending; empty where none is. `tag` (`name:value,`) goes before the tags of each."""
    if _IDLE in datagram:
        datagram = b"\n".join([line for line in datagram.split(b"\n") if _IDLE not in line])
    if tag:
        datagram = datagram.replace(_TAGS, _TAGS + tag)
    return _CLUSTER.sub(_replacement, datagram)


def _replacement(found: re.Match[bytes]) -> bytes:
    return _tags(found[1])


@lru_cache(_MOST_NAMES)
def _tags(name: bytes) -> bytes:
    """`outbound|80|v1|echo.demo.svc…` → direction, port, subset, service; those that are empty left out."""
    return b",".join(
        part + b":" + value for part, value in zip(_PARTS, name.split(b"|", 3), strict=False) if value
    )
