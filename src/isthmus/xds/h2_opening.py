"""How nearly every peer begins, read without h2: its SETTINGS, and the header fields of its first call.

h2 takes a sixth of a millisecond for that, more than all else that a connection costs. The rules here are
narrower than h2's: what is answered is what h2 would make of it (RFC 9113, sections 6.5 and 8.3; RFC 7541 for
a block that comes before anything is in the dynamic table), and None means that h2 is to judge. Nothing is
refused here.
"""

import re
from functools import lru_cache

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from isthmus.xds.h2_flow import WIDEST
from isthmus.xds.h2_frames import FIRST_WINDOW

Fields = list[tuple[bytes, bytes]]

_ENABLE_PUSH, _INITIAL_WINDOW, _MAX_FRAME, _CONNECT_PROTOCOL = 2, 4, 5, 8
_LEAST_FRAME, _MOST_FRAME = 2**14, 2**24 - 1
_STATIC: Fields = [(b"", b""), *HeaderTable.STATIC_TABLE]
_ENTRY = 32
"""What a field counts beside its name and value (RFC 7541, section 4.1)."""
_HUFFMAN = 0x80
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_POST = (b":method", b"POST")
_CONNECTION = (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
_LEFT_TO_H2 = frozenset((*_CONNECTION, b"host", b"cookie", b"content-length"))
_NAME = re.compile(rb":?[a-z0-9_.-]+")
_VALUE = re.compile(rb"[!-~](?:[ -~]*[!-~])?")
_MOST_REMEMBERED = 128
"""Bytes of a field that is remembered: what peers have in common is short, and a token is not."""


class _NotPlain(Exception):  # noqa: N818 (it ends the reading, and is no error)
    pass


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
        fields = _fields(block)
    except (_NotPlain, IndexError):
        return None
    if len(fields) < 4 or not _PSEUDO.issubset([name for name, _ in fields[:4]]) or _POST not in fields[:4]:
        return None
    size = len(fields) * _ENTRY
    for name, value in fields:
        size += len(name) + len(value)
    if size > most or any(name.startswith(b":") for name, _ in fields[4:]):
        return None
    return fields


def _fields(block: bytes) -> Fields:
    """Raises IndexError for a block that ends too early."""
    fields: Fields = []
    at, end = 0, len(block)
    while at < end:
        stop = _after(block, at)
        if stop > end:
            raise _NotPlain
        read = _remembered if stop - at <= _MOST_REMEMBERED else _field
        fields.append(read(block[at:stop]))
        at = stop
    return fields


def _after(block: bytes, at: int) -> int:
    """Where the field that begins there ends (RFC 7541, section 6)."""
    first = block[at]
    if first & 0x80:
        return _integer(block, at, 0x7F)[1]
    index, at = _integer(block, at, 0x3F if first & 0x40 else 0x0F)
    if not index:
        size, at = _integer(block, at, 0x7F)
        at += size
    size, at = _integer(block, at, 0x7F)
    return at + size


def _field(raw: bytes) -> tuple[bytes, bytes]:
    """What one field's bytes say."""
    first = raw[0]
    if first & 0x80:
        name, value = _STATIC[first & 0x7F]
    elif first & 0x60 == 0x20:
        raise _NotPlain  # The table's size changes.
    else:
        index, at = _integer(raw, 0, 0x3F if first & 0x40 else 0x0F)
        if index:
            name = _STATIC[index][0]
        else:
            name, at = _text(raw, at, _NAME)
        value, _ = _text(raw, at, _VALUE)
    if not value or name in _LEFT_TO_H2 or (name == b"te" and value != b"trailers"):
        raise _NotPlain
    return name, value


_remembered = lru_cache(maxsize=1024)(_field)


def _text(raw: bytes, at: int, allowed: re.Pattern[bytes]) -> tuple[bytes, int]:
    huffman = raw[at] & _HUFFMAN
    size, at = _integer(raw, at, 0x7F)
    stop = at + size
    text = raw[at:stop]
    if huffman:
        try:
            text = decode_huffman(text)
        except HPACKDecodingError:
            raise _NotPlain from None
    if not allowed.fullmatch(text):
        raise _NotPlain
    return text, stop


def _integer(block: bytes, at: int, most: int) -> tuple[int, int]:
    """An integer with the prefix `most`, and where it ends (RFC 7541, section 5.1); of two more bytes at
    most.
    """
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    low = block[at]
    if low < 0x80:
        return value + low, at + 1
    high = block[at + 1]
    if high >= 0x80:
        raise _NotPlain
    return value + (low & 0x7F) + (high << 7), at + 2
