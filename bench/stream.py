"""Just enough HTTP/2 to hold many gRPC streams cheaply: one connection and one stream each.

A real client library spends more on a message than the servers under test do, and would be what is measured.
This one never lets its receive window shrink noticeably, answers pings and settings, and knows nothing else.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_WIDE = 2**31 - 1
_MOST_FRAME = 16384


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: str, value: str) -> bytes:
    """A header, literal and never indexed (RFC 7541, 6.2.3); both lengths below 127."""
    return b"\x10" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


class Stream(asyncio.Protocol):
    """A bidirectional gRPC call. `deliver` gets each whole message; `ended` is set when the peer ends it."""

    def __init__(self, method: str, deliver: Callable[[bytes], None]) -> None:
        self.ended = asyncio.Event()
        self.received = 0
        self._method = method
        self._deliver = deliver
        self._transport: asyncio.Transport | None = None
        self._input = bytearray()
        self._message = bytearray()
        self._output: deque[bytes] = deque()
        self._window = self._connection_window = 65535
        self._initial = 65535

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = (4).to_bytes(2, "big") + _WIDE.to_bytes(4, "big")
        headers = b"".join(
            _literal(name, value)
            for name, value in (
                (":method", "POST"),
                (":scheme", "http"),
                (":path", self._method),
                (":authority", "bench"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
            )
        )
        self._transport.write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW, 0, 0, (_WIDE - 65535).to_bytes(4, "big"))
            + _frame(_HEADERS, 4, 1, headers)
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def send(self, message: bytes) -> None:
        """Send one message as soon as the peer's windows allow."""
        framed = b"\0" + len(message).to_bytes(4, "big") + message
        self._output.extend(framed[at : at + _MOST_FRAME] for at in range(0, len(framed), _MOST_FRAME))
        self._flush()

    def close(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        frames: list[bytes] = []
        while self._output:
            chunk = self._output[0]
            room = min(self._window, self._connection_window)
            if room <= 0:
                break
            if len(chunk) > room:
                self._output[0] = chunk[room:]
                chunk = chunk[:room]
            else:
                self._output.popleft()
            self._window -= len(chunk)
            self._connection_window -= len(chunk)
            frames.append(_frame(_DATA, 0, 1, chunk))
        if frames and self._transport is not None:
            self._transport.write(b"".join(frames))

    def data_received(self, data: bytes) -> None:
        self._input += data
        view, at, size = self._input, 0, len(self._input)
        while size - at >= 9:
            end = at + 9 + int.from_bytes(view[at : at + 3], "big")
            if end > size:
                break
            on_stream = any(view[at + 5 : at + 9])
            self._take(view[at + 3], view[at + 4], bytes(view[at + 9 : end]), on_stream)
            at = end
        del view[:at]

    def _take(self, kind: int, flags: int, payload: bytes, on_stream: bool) -> None:
        if kind == _DATA:
            self._message += payload
            self._messages()
            if flags & 1:
                self.ended.set()
        elif kind == _HEADERS:
            if flags & 1:
                self.ended.set()
        elif kind == _WINDOW:
            step = int.from_bytes(payload, "big")
            if on_stream:
                self._window += step
            else:
                self._connection_window += step
            self._flush()
        elif kind == _SETTINGS and not flags & 1:
            for at in range(0, len(payload), 6):
                if payload[at : at + 2] == b"\0\x04":
                    initial = int.from_bytes(payload[at + 2 : at + 6], "big")
                    self._window += initial - self._initial
                    self._initial = initial
            self._reply(_SETTINGS, b"")
            self._flush()
        elif kind == _PING and not flags & 1:
            self._reply(_PING, payload)
        elif kind in (_RST, _GOAWAY):
            self.ended.set()

    def _reply(self, kind: int, payload: bytes) -> None:
        if self._transport is not None:
            self._transport.write(_frame(kind, 1, 0, payload))

    def _messages(self) -> None:
        buffer = self._message
        while len(buffer) >= 5:
            end = 5 + int.from_bytes(buffer[1:5], "big")
            if len(buffer) < end:
                return
            message = bytes(buffer[5:end])
            del buffer[:end]
            self.received += len(message)
            self._deliver(message)
