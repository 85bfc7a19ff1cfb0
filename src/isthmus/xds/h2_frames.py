"""HTTP/2 frames as bytes, and messages framed once for everyone who is sent them (RFC 9113, section 4.1).

Equal content is one bytes object for every stream (`xds.transport`), and nearly every stream is the first on
its connection. So the DATA frames of a push are made once and each connection writes the same object.
"""

import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from isthmus.xds.h2_pages import Shared

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
FRAME_HEADER = 9
FIRST_WINDOW = 65_535
"""Of a stream and of a connection, until the peer says otherwise (RFC 9113, section 6.9.2)."""
_MOST_REMEMBERED = 16
_MOST_BYTES = 64 * 1024 * 1024
"""Of remembered frames, over all messages."""


Buffer: TypeAlias = bytes | bytearray | memoryview
Parts: TypeAlias = Sequence[bytes | memoryview]


def frame(kind: int, flags: int, stream_id: int, payload: Buffer) -> bytes:
    """One frame."""
    return frame_header(len(payload), kind, flags, stream_id) + payload


def frame_header(size: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The nine bytes before a payload of `size` bytes."""
    return ((size << 48) | (kind << 40) | (flags << 32) | stream_id).to_bytes(FRAME_HEADER, "big")


def window_update(stream_id: int, credit: int) -> bytes:
    """Credit for a stream, or with 0 for the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, credit.to_bytes(4, "big"))


def header_block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Header fields that are the same in every answer, spelled out, no text of more than 126 characters.

    Such a block is valid at any time: it neither uses nor alters what the compression remembers (RFC 7541,
    section 6.2.2).
    """
    parts: list[bytes] = []
    for name, value in fields:
        for text in (name, value):
            assert len(text) < 127
        parts += (b"\0", bytes((len(name),)), name.encode(), bytes((len(value),)), value.encode())
    return b"".join(parts)


def goaway(last_stream_id: int, code: int) -> bytes:
    """No streams above `last_stream_id` will be served."""
    return frame(GOAWAY, 0, 0, last_stream_id.to_bytes(4, "big") + code.to_bytes(4, "big"))


def data_frames(body: memoryview, stream_id: int, most: int) -> Parts:
    """`body` in DATA frames of at most `most` bytes: headers and slices by turns, nothing copied."""
    parts: list[bytes | memoryview] = []
    for at in range(0, len(body), most):
        piece = body[at : at + most]
        parts.append(frame_header(len(piece), DATA, 0, stream_id))
        parts.append(piece)
    return parts


class _Framed:
    """One message, with its gRPC prefix, and as frames by stream and frame size."""

    __slots__ = ("body", "by_stream", "message", "size")

    def __init__(self, message: bytes, *, gzip: bool) -> None:
        self.message = message
        content = zlib.compress(message, 1, 31) if gzip else message
        self.body = memoryview(bytes((gzip,)) + len(content).to_bytes(4, "big") + content)
        self.by_stream: dict[tuple[int, int], Shared] = {}
        self.size = len(self.body)


class Frames:
    """Messages framed of late. A message is known by identity: its object is kept as long as its frames."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, bool], _Framed] = OrderedDict()
        self._size = 0
        self.made = 0

    def body(self, message: bytes, *, gzip: bool = False) -> memoryview:
        """The message with its gRPC prefix, compressed where asked."""
        return self._framed(message, gzip).body

    def of(self, message: bytes, stream_id: int, most: int, *, gzip: bool = False) -> Shared:
        """The whole message in DATA frames of at most `most` bytes."""
        framed = self._framed(message, gzip)
        found = framed.by_stream.get((stream_id, most))
        if found is None:
            self.made += 1
            found = Shared(b"".join(data_frames(framed.body, stream_id, most)))
            framed.by_stream[stream_id, most] = found
            framed.size += 2 * len(found)
            self._size += 2 * len(found)
            self._forget()
        return found

    def _framed(self, message: bytes, gzip: bool) -> _Framed:
        key = (id(message), gzip)
        framed = self._known.get(key)
        if framed is None:
            framed = self._known[key] = _Framed(message, gzip=gzip)
            self._size += framed.size
            self._forget()
        else:
            self._known.move_to_end(key)
        return framed

    def _forget(self) -> None:
        while len(self._known) > _MOST_REMEMBERED or (self._size > _MOST_BYTES and len(self._known) > 1):
            _, framed = self._known.popitem(last=False)
            self._size -= framed.size
