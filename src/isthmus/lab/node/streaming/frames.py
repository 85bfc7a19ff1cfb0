"""SPDY/3.1 frames, as far as Kubernetes' streaming needs them: bytes in, events out. No I/O.

Source: SPDY Protocol, draft 3.1. Only a server's side is here. As the peers of Kubernetes do, it keeps no
windows: whoever does not read holds up the connection. What a peer announces is bounded before it is kept.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from isthmus.lab.node.streaming.dictionary import DICTIONARY

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = (
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    9,
)
_VERSION = 3
_FIN = 0x01
_MOST_CONTROL = 16 * 1024
_MOST_HEADERS = 16 * 1024
MOST_DATA = 32 * 1024
"""Bytes of one data frame that we write."""
REFUSED_STREAM, CANCEL = 3, 5
"""Why a stream is reset."""


class ProtocolError(Exception):
    """The peer does not speak SPDY/3.1, or too much of it; the connection must end."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream, `ended` where it will say nothing on it. Header names are lower case."""

    stream: int
    headers: dict[str, str]
    ended: bool


@dataclass(frozen=True, slots=True)
class Data:
    """A part of what the peer says on a stream; after an `ended` one nothing more comes."""

    stream: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The peer gave a stream up."""

    stream: int


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered with the same number."""

    number: int


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The peer opens no more streams."""


Event = Opened | Data | Reset | Ping | GoneAway


class Frames:
    """One connection's frames; headers are compressed in one context for each direction."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: tuple[int, int, bool] | None = None
        """The data frame in hand: its stream, how much is still to come, whether it ends the stream."""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Event]:
        """What arrived, in order. A data frame is passed on in the parts in which it comes. ProtocolError."""
        self._rest += data
        while True:
            if self._data is not None:
                if not self._rest and self._data[1]:
                    return
                yield self._next_data()
            elif len(self._rest) < 8:
                return
            elif self._rest[0] & 0x80:
                length = int.from_bytes(self._rest[5:8], "big")
                if length > _MOST_CONTROL:
                    raise ProtocolError(f"a control frame of {length} bytes")
                if len(self._rest) < 8 + length:
                    return
                head, payload, self._rest = (
                    self._rest[:8],
                    self._rest[8 : 8 + length],
                    self._rest[8 + length :],
                )
                yield from self._control(head, payload)
            else:
                stream, length = struct.unpack(">II", self._rest[:8])
                self._data = (stream, length & 0xFFFFFF, bool(length >> 24 & _FIN))
                self._rest = self._rest[8:]

    def _next_data(self) -> Data:
        assert self._data is not None
        stream, left, fin = self._data
        part, self._rest = self._rest[:left], self._rest[left:]
        left -= len(part)
        self._data = (stream, left, fin) if left else None
        return Data(stream, part, fin and not left)

    def _control(self, head: bytes, payload: bytes) -> Iterator[Event]:
        version, kind, flags = struct.unpack(">HHB", head[:5])
        if version & 0x7FFF != _VERSION:
            raise ProtocolError(f"SPDY version {version & 0x7FFF}")
        try:
            if kind == _SYN_STREAM:
                (stream,) = struct.unpack(">I", payload[:4])
                yield Opened(stream & 0x7FFFFFFF, self._read_headers(payload[10:]), bool(flags & _FIN))
            elif kind in (_SYN_REPLY, _HEADERS):
                self._read_headers(payload[4:])  # keeps the decompressor in step
            elif kind == _RST_STREAM:
                yield Reset(struct.unpack(">I", payload[:4])[0] & 0x7FFFFFFF)
            elif kind == _PING:
                yield Ping(struct.unpack(">I", payload)[0])
            elif kind == _GOAWAY:
                yield GoneAway()
            elif kind not in (_SETTINGS, _WINDOW_UPDATE):
                raise ProtocolError(f"a frame of type {kind}")
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise ProtocolError(f"a broken frame of type {kind}: {error}") from None

    def _read_headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block, _MOST_HEADERS)
        if self._inflate.unconsumed_tail:
            raise ProtocolError(f"more than {_MOST_HEADERS} bytes of headers")
        (count,) = struct.unpack(">I", plain[:4])
        at, headers = 4, dict[str, str]()
        for _ in range(count):
            name, at = _text(plain, at)
            headers[name.lower()], at = _text(plain, at)
        return headers

    def reply(self, stream: int) -> bytes:
        """A stream is accepted."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _frame(_SYN_REPLY, struct.pack(">I", stream) + block)

    def data(self, stream: int, data: bytes, *, ended: bool = False) -> bytes:
        """At most MOST_DATA bytes on a stream; `ended`: and nothing more."""
        return struct.pack(">II", stream, (_FIN if ended else 0) << 24 | len(data)) + data

    def reset(self, stream: int, why: int) -> bytes:
        """A stream is given up."""
        return _frame(_RST_STREAM, struct.pack(">II", stream, why))

    def ping(self, number: int) -> bytes:
        """The answer to a ping."""
        return _frame(_PING, struct.pack(">I", number))

    def go_away(self, last: int) -> bytes:
        """The connection ends, in good order; `last` is the last stream that was accepted."""
        return _frame(_GOAWAY, struct.pack(">II", last, 0))


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | _VERSION, kind, len(payload)) + payload


def _text(plain: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack(">I", plain[at : at + 4])
    end = at + 4 + length
    if end > len(plain):
        raise ProtocolError("headers that end amid a word")
    return plain[at + 4 : end].decode(), end
