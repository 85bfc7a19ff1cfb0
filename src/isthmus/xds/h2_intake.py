"""Cuts what a peer sends into frames. No frame is waited for that is longer than allowed, and no header
block.
"""

import struct
from collections.abc import Iterator

from h2.errors import ErrorCodes

from isthmus.xds.h2_flow import Budget, ConnectionFailed
from isthmus.xds.h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    HEADERS,
    SETTINGS,
)

MOST_FRAME = 16_384
"""The largest frame that is taken, the least that HTTP/2 allows to demand (RFC 9113, section 4.2)."""
OTHER = -1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_TINY = 16
_FRAME = struct.Struct(">HBBBL")
"""Length in two parts, kind, flags, stream (RFC 9113, section 4.1)."""
_STREAM = 0x7FFFFFFF

Piece = tuple[int, int, int, memoryview]
"""Kind, flags, stream and payload of a frame, the latter a view of what was received; with the kind OTHER it
is the frame as it came, for h2.
"""


class Intake:
    """The bytes of one connection. `spoken`: whether the preface came, with its SETTINGS."""

    __slots__ = ("_block", "_budget", "_most_headers", "_preface", "_rest", "spoken")

    def __init__(self, budget: Budget, most_headers: int) -> None:
        self.spoken = False
        self._budget = budget
        self._most_headers = most_headers
        self._preface = PREFACE
        self._rest = b""
        self._block = 0
        """Bytes of a header block that goes on, 0 outside of one."""

    def cut(self, data: bytes) -> Iterator[Piece]:
        """The frames that are complete now. Raises ConnectionFailed."""
        if self._preface:
            data = self._without_preface(data)
        if self._rest:
            data = self._rest + data
        view = memoryview(data)
        at, end = 0, len(data)
        while end - at >= FRAME_HEADER:
            start = at + FRAME_HEADER
            high, low, kind, flags, stream_id = _FRAME.unpack_from(data, at)
            size = high << 8 | low
            if size > MOST_FRAME:
                raise ConnectionFailed(ErrorCodes.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            stop = start + size
            if stop > end:
                break
            if kind != DATA or (size < _TINY and not flags & END_STREAM):
                self._budget.spend(kind)
            if kind == DATA and self.spoken and not self._block:
                payload = view[start:stop]
                if size == MOST_FRAME and not flags:
                    payload, stop = _continued(view, at, stop)
                yield DATA, flags, stream_id & _STREAM, payload
            elif self._is_of_a_block(kind, flags, size):
                yield OTHER, 0, 0, view[at:stop]
            else:
                yield kind, flags, stream_id & _STREAM, view[start:stop]
            at = stop
        self._rest = data[at:]

    def _without_preface(self, data: bytes) -> bytes:
        expected = self._preface[: len(data)]
        if not data.startswith(expected):
            raise ConnectionFailed(ErrorCodes.PROTOCOL_ERROR, "this is no HTTP/2")
        self._preface = self._preface[len(expected) :]
        return data[len(expected) :]

    def _is_of_a_block(self, kind: int, flags: int, size: int) -> bool:
        """Whether the frame belongs to a header block of several, or comes where only such may: only h2 knows
        what to do with it.
        """
        if not self.spoken:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFailed(ErrorCodes.PROTOCOL_ERROR, "the first frame is no SETTINGS")
            self.spoken = True
        goes_on = self._block > 0
        if kind in (HEADERS, CONTINUATION):
            self._block += size + 1
            if self._block > self._most_headers:
                raise ConnectionFailed(ErrorCodes.ENHANCE_YOUR_CALM, "too large a header block")
            if flags & END_HEADERS:
                self._block = 0
        return goes_on or self._block > 0


def _continued(view: memoryview, at: int, stop: int) -> tuple[memoryview, int]:
    """The payload of the full frame from `at` to `stop`, with those of the frames that go on with it and are
    there, and where the last of them ends. A request of many names is of several.
    """
    like, end = view[at + 3 : at + FRAME_HEADER], len(view)
    payloads = [view[at + FRAME_HEADER : stop]]
    while view[stop + 3 : stop + FRAME_HEADER] == like:
        start = stop + FRAME_HEADER
        size = int.from_bytes(view[stop : stop + 3], "big")
        if size < _TINY or size > MOST_FRAME or start + size > end:
            break
        payloads.append(view[start : start + size])
        stop = start + size
    return memoryview(b"".join(payloads)), stop
