"""Just enough HTTP/2 to ask unary gRPC calls as fast as a server answers: one connection, many streams.

Headers of answers are not read, so a refused call is told from an answered one by its missing data.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import cast

from hpack import Encoder

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_WIDE = 2**31 - 1


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class Caller(asyncio.Protocol):
    """Keeps `width` calls under way until it is told to stop. `latencies` in seconds, of all that ended.

    Header fields are spelled once on the connection, and then named by their numbers, as Envoy does.
    """

    def __init__(self, method: str, message: bytes, width: int, metadata: Sequence[tuple[str, str]]) -> None:
        self.latencies: list[float] = []
        self.answered = 0
        self.done = asyncio.get_running_loop().create_future()
        headers = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "bench"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *metadata,
        )
        encoder = Encoder()
        self._first: bytes | None = encoder.encode(headers)
        self._headers = encoder.encode(headers)
        self._message = b"\0" + len(message).to_bytes(4, "big") + message
        self._width = width
        self._began: dict[int, float] = {}
        self._waiting: deque[int] = deque()
        self._next = 1
        self._window = 65535
        self._input = bytearray()
        self._output: list[bytes] = []
        self._stopping = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        wide = (4).to_bytes(2, "big") + _WIDE.to_bytes(4, "big")
        self._output += [
            _PREFACE,
            _frame(_SETTINGS, 0, 0, wide),
            _frame(_WINDOW, 0, 0, (_WIDE - 65535).to_bytes(4, "big")),
        ]
        for _ in range(self._width):
            self._call()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server hung up"))

    def stop(self) -> None:
        """Begin no further call; `done` when the last has ended."""
        self._stopping = True

    def _call(self) -> None:
        stream, self._next = self._next, self._next + 2
        self._began[stream] = time.perf_counter()
        if self._window < len(self._message):
            self._waiting.append(stream)
        else:
            self._send(stream)

    def _send(self, stream: int) -> None:
        self._window -= len(self._message)
        headers, self._first = self._first or self._headers, None
        self._output += (
            _frame(_HEADERS, 4, stream, headers),
            _frame(_DATA, 1, stream, self._message),
        )

    def _flush(self) -> None:
        if self._output and self._transport is not None:
            self._transport.write(b"".join(self._output))
            self._output.clear()

    def data_received(self, data: bytes) -> None:
        self._input += data
        view, at, size = self._input, 0, len(self._input)
        while size - at >= 9:
            length = int.from_bytes(view[at : at + 3], "big")
            end = at + 9 + length
            if end > size:
                break
            kind, flags = view[at + 3], view[at + 4]
            if kind in (_HEADERS, _RST):
                if flags & 1 or kind == _RST:
                    self._ended(int.from_bytes(view[at + 5 : at + 9], "big"))
            elif kind == _DATA:
                self.answered += 1
            else:
                self._connection_frame(kind, flags, bytes(view[at + 5 : end]))
            at = end
        del view[:at]
        self._flush()

    def _ended(self, stream: int) -> None:
        self.latencies.append(time.perf_counter() - self._began.pop(stream))
        if not self._stopping:
            self._call()
        elif not self._began and not self.done.done():
            self.done.set_result(None)

    def _connection_frame(self, kind: int, flags: int, rest: bytes) -> None:
        on_stream, payload = any(rest[:4]), rest[4:]
        if kind == _SETTINGS and not flags & 1:
            self._output.append(_frame(_SETTINGS, 1, 0, b""))
        elif kind == _PING and not flags & 1:
            self._output.append(_frame(_PING, 1, 0, payload))
        elif kind == _WINDOW and not on_stream:
            self._window += int.from_bytes(payload, "big")
            while self._waiting and self._window >= len(self._message):
                self._send(self._waiting.popleft())
        elif kind == _GOAWAY:
            raise ConnectionError("the server sends us away")


async def call(
    port: int,
    method: str,
    message: bytes,
    *,
    seconds: float,
    width: int,
    metadata: Sequence[tuple[str, str]] = (),
) -> Caller:
    """Ask for so long; the caller with what it measured."""
    loop = asyncio.get_running_loop()
    transport, caller = await loop.create_connection(
        lambda: Caller(method, message, width, metadata), "127.0.0.1", port
    )
    try:
        await asyncio.sleep(seconds)
        caller.stop()
        await caller.done
    finally:
        transport.close()
    return caller
