"""How nearly every peer begins, read without h2: its SETTINGS, and the header fields of its first call.

h2 takes a sixth of a millisecond for that, more than all else that a connection costs. The rules here are
narrower than h2's: what is answered is what h2 would make of it (RFC 9113, sections 6.5 and 8.3), and None
means that h2 is to judge. Nothing is refused here.
"""

import re
from typing import cast

from hpack import Decoder
from hpack.exceptions import HPACKError

from isthmus.xds.h2_flow import WIDEST
from isthmus.xds.h2_frames import FIRST_WINDOW

Fields = list[tuple[bytes, bytes]]

_ENABLE_PUSH, _INITIAL_WINDOW, _MAX_FRAME, _CONNECT_PROTOCOL = 2, 4, 5, 8
_LEAST_FRAME, _MOST_FRAME = 2**14, 2**24 - 1
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_POST = (b":method", b"POST")
_CONNECTION = (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
_LEFT_TO_H2 = frozenset((*_CONNECTION, b"host", b"cookie", b"content-length"))
_NAME = re.compile(rb"[a-z0-9_.-]+")
_VALUE = re.compile(rb"[!-~](?:[ -~]*[!-~])?")


def read_settings(payload: bytes) -> tuple[int, int] | None:
    """A stream's first window and the largest frame, both in bytes, out of a SETTINGS frame."""
    window, frame_size = FIRST_WINDOW, _LEAST_FRAME
    if len(payload) % 6:
        return None
    for at in range(0, len(payload), 6):
        entry = int.from_bytes(payload[at : at + 6], "big")
        key, value = entry >> 32, entry & 0xFFFFFFFF
        if key == _INITIAL_WINDOW and value <= WIDEST:
            window = value
        elif key == _MAX_FRAME and _LEAST_FRAME <= value <= _MOST_FRAME:
            frame_size = value
        elif key in (_INITIAL_WINDOW, _MAX_FRAME) or (key in (_ENABLE_PUSH, _CONNECT_PROTOCOL) and value > 1):
            return None
    return window, frame_size


def read_first_fields(block: bytes, most: int) -> Fields | None:
    """The header fields of a connection's first call, of at most `most` bytes as HPACK counts them."""
    try:
        fields = cast("Fields", Decoder(most).decode(block, raw=True))
    except HPACKError:
        return None
    if len(fields) < 4 or not _PSEUDO.issubset(name for name, _ in fields[:4]) or _POST not in fields[:4]:
        return None
    for name, value in fields[4:]:
        if name in _LEFT_TO_H2 or not _NAME.fullmatch(name) or (name == b"te" and value != b"trailers"):
            return None
    if not all(_VALUE.fullmatch(value) for _, value in fields):
        return None
    return fields
