"""Cuts what a peer sends into what is handled here, DATA and credit, and all else, which is h2's.

A thousand proxies that acknowledge a push send a thousand messages; h2 spends more on a DATA frame than the
hub does on the message in it. No frame is waited for that is longer than allowed, and no header block.
"""

from collections.abc import Iterator
from typing import NamedTuple

from h2.errors import ErrorCodes

from isthmus.xds.h2_flow import Budget, ConnectionFailed
from isthmus.xds.h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    GOAWAY,
    HEADERS,
    SETTINGS,
    WINDOW_UPDATE,
)

MOST_FRAME = 16_384
"""The largest frame that is taken, the least that HTTP/2 allows to demand (RFC 9113, section 4.2)."""
OTHER = -1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_TINY = 16


class Piece(NamedTuple):
    """A DATA, WINDOW_UPDATE or GOAWAY frame, or with the kind OTHER bytes for h2, whole frames."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


class Intake:
    """The bytes of one connection. `spoken`: whether the preface came, with its SETTINGS."""

    def __init__(self, budget: Budget, most_headers: int) -> None:
        self.spoken = False
        self._budget = budget
        self._most_headers = most_headers
        self._preface = _PREFACE
        self._rest = b""
        self._block = 0
        """Bytes of a header block that goes on, 0 outside of one."""

    def cut(self, data: bytes, now: float) -> Iterator[Piece]:
        """The frames that are complete now. Raises ConnectionFailed."""
        if self._preface:
            data = self._without_preface(data)
        if self._rest:
            data = self._rest + data
        at, end, run = 0, len(data), 0
        while end - at >= FRAME_HEADER:
            size = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2]
            if size > MOST_FRAME:
                raise ConnectionFailed(ErrorCodes.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            stop = at + FRAME_HEADER + size
            if stop > end:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind != DATA or (size < _TINY and not flags & END_STREAM):
                self._budget.spend(kind, now)
            if self._ours(kind, flags, size):
                if run < at:
                    yield Piece(OTHER, 0, 0, data[run:at])
                stream_id = int.from_bytes(data[at + 5 : at + FRAME_HEADER], "big") & 0x7FFFFFFF
                yield Piece(kind, flags, stream_id, data[at + FRAME_HEADER : stop])
                run = stop
            at = stop
        if run < at:
            yield Piece(OTHER, 0, 0, data[run:at])
        self._rest = data[at:]

    def _without_preface(self, data: bytes) -> bytes:
        expected = self._preface[: len(data)]
        if not data.startswith(expected):
            raise ConnectionFailed(ErrorCodes.PROTOCOL_ERROR, "this is no HTTP/2")
        self._preface = self._preface[len(expected) :]
        return data[len(expected) :]

    def _ours(self, kind: int, flags: int, size: int) -> bool:
        """Whether h2 is not needed for this frame; it judges the order of frames, and odd ones."""
        if not self.spoken:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFailed(ErrorCodes.PROTOCOL_ERROR, "the first frame is no SETTINGS")
            self.spoken = True
        if kind in (HEADERS, CONTINUATION):
            self._block += size + 1
            if self._block > self._most_headers:
                raise ConnectionFailed(ErrorCodes.ENHANCE_YOUR_CALM, "too large a header block")
            if flags & END_HEADERS:
                self._block = 0
            return False
        if self._block:
            return False
        return kind == DATA or (kind == WINDOW_UPDATE and size == 4) or (kind == GOAWAY and size >= 8)
