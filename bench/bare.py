"""`python -m bench.bare FILE`: the least that any server can do, one write of ready bytes to each socket.

FILE and standard input are as for `bench.floor`. It speaks no HTTP/2: what it sends happens to be frames, and
what it is sent it reads and drops. So a connection costs the copying of its bytes, and a push one system call
a stream.
"""

import asyncio
import base64
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

_WIDE = 2**31 - 1
_MOST_FRAME = 16384
_FIRST_REQUEST = b"sidecar~"
_DATA, _HEADERS, _SETTINGS, _WINDOW = 0, 1, 4, 8


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _framed(message: bytes) -> bytes:
    body = b"\0" + len(message).to_bytes(4, "big") + message
    pieces = (body[at : at + _MOST_FRAME] for at in range(0, len(body), _MOST_FRAME))
    return b"".join(_frame(_DATA, 0, 1, piece) for piece in pieces)


_GREETING = (
    _frame(_SETTINGS, 0, 0, b"\0\x04" + _WIDE.to_bytes(4, "big"))
    + _frame(_WINDOW, 0, 0, (_WIDE - 65535).to_bytes(4, "big"))
    + _frame(_HEADERS, 4, 1, b"\x88")
)


class Socket(asyncio.Protocol):
    """One connection."""

    def __init__(self, sockets: list[int], answers: bytes) -> None:
        self._sockets = sockets
        self._answers = answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._sockets.append(transport.get_extra_info("socket").fileno())

    def data_received(self, data: bytes) -> None:
        if _FIRST_REQUEST in data:
            self._transport.write(self._answers)


async def _serve(file: Path) -> None:
    sockets: list[int] = []
    messages = (base64.b64decode(line) for line in file.read_text().splitlines())
    answers = _GREETING + b"".join(map(_framed, messages))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Socket(sockets, answers), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        framed = _framed(base64.b64decode(line))
        began = time.monotonic()
        for socket in sockets:
            os.write(socket, framed)
        print(json.dumps({"began": began}), flush=True)


if __name__ == "__main__":
    gc.disable()
    uvloop.run(_serve(Path(sys.argv[1])))
