"""A command's standard streams over one connection, in either form: what is common is `Conversation`.

Sources: KEP-4006 and k8s.io/apimachinery `remotecommand`, subprotocols `v4.channel.k8s.io` and
`v5.channel.k8s.io`. Older ones, which cannot tell an exit code, are refused.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from isthmus.lab.node.streaming.session import Session, Stream, running_session
from isthmus.lab.node.streaming.wires import BareWire
from isthmus.lab.switching import switched
from isthmus.lib.lifecycle import task_scope

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""What we speak, best first."""
PROTOCOL_HEADER = "X-Stream-Protocol-Version"
_STREAMS_WITHIN = 30.0
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_MOST_MESSAGE = 1 << 20
_MOST_WAITING = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams the client wants; with a terminal, what goes to stderr comes as stdout."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


@dataclass(frozen=True, slots=True)
class Size:
    """Of a terminal, in characters."""

    columns: int
    rows: int


class Conversation(Protocol):
    """A client at the other end. What is sent to one that is gone is a ConnectionError."""

    gone: asyncio.Event
    """The client has left."""

    async def read(self) -> bytes:
        """What is typed next; empty at its end."""
        ...

    async def next_size(self) -> Size | None:
        """The next size of the client's terminal; None when there will be no more."""
        ...

    async def write_out(self, data: bytes) -> None:
        """What the command says on stdout."""
        ...

    async def write_error(self, data: bytes) -> None:
        """What the command says on stderr."""
        ...

    async def finish(self, status: Mapping[str, Any]) -> None:
        """How it ended: a `Status`."""
        ...


def read_wanted(query: Mapping[str, str]) -> Wanted:
    """The query of a kubelet's `/exec` and `/attach`; ValueError where no stream is wanted."""
    tty = query.get("tty") == "1"
    wanted = Wanted(
        stdin=query.get("input") == "1",
        stdout=query.get("output") == "1",
        stderr=query.get("error") == "1" and not tty,
        tty=tty,
    )
    if not (wanted.stdin or wanted.stdout or wanted.stderr):
        raise ValueError("you must specify at least 1 of stdin, stdout, stderr")
    return wanted


def read_size(line: bytes) -> Size | None:
    """A size as clients send it, None where it is none."""
    try:
        match json.loads(line):
            case {"Width": int(columns), "Height": int(rows)} if 0 < columns < 1 << 16 and 0 < rows < 1 << 16:
                return Size(columns, rows)
            case _:
                return None
    except ValueError:
        return None


class _OverWebSocket:
    """Messages, whose first byte says which stream they are of."""

    def __init__(self, socket: web.WebSocketResponse, wanted: Wanted) -> None:
        self.gone = asyncio.Event()
        self._socket = socket
        self._wanted = wanted
        self._typed: asyncio.Queue[bytes] = asyncio.Queue(_MOST_WAITING)
        self._sizes: asyncio.Queue[Size] = asyncio.Queue(_MOST_WAITING)

    async def read_all(self) -> None:
        """Hand out what comes, until the client is gone."""
        typing = self._wanted.stdin
        async for message in self._socket:
            if message.type is not WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], bytes(message.data[1:])
            if channel == _STDIN and typing and data:
                await self._typed.put(data)
            elif channel == _CLOSE and data[:1] == bytes([_STDIN]) and typing:  # v5 only
                typing = False
                await self._typed.put(b"")
            elif channel == _RESIZE and (size := read_size(data)) and not self._sizes.full():
                self._sizes.put_nowait(size)
        self.gone.set()
        if typing:
            await self._typed.put(b"")

    async def read(self) -> bytes:
        return await self._typed.get()

    async def next_size(self) -> Size | None:
        return await self._sizes.get()

    async def write_out(self, data: bytes) -> None:
        await self._socket.send_bytes(bytes([_STDOUT]) + data)

    async def write_error(self, data: bytes) -> None:
        await self._socket.send_bytes(bytes([_STDERR]) + data)

    async def finish(self, status: Mapping[str, Any]) -> None:
        await self._socket.send_bytes(bytes([_ERROR]) + json.dumps(status).encode())
        await self._socket.close()

    async def greet(self) -> None:
        """An empty message, by which clients know that all is set up."""
        channel = _STDOUT if self._wanted.stdout else _STDERR if self._wanted.stderr else _ERROR
        await self._socket.send_bytes(bytes([channel]))


@dataclass(slots=True)
class _OverSpdy:
    """A SPDY stream for each, as their headers say."""

    gone: asyncio.Event
    streams: dict[str, Stream]

    async def read(self) -> bytes:
        return await self.streams["stdin"].read()

    async def next_size(self) -> Size | None:
        rest = b""
        while data := await self.streams["resize"].read():
            rest += data
            *lines, rest = rest.split(b"\n")
            for size in reversed([size for line in lines if (size := read_size(line))]):
                return size
            if len(rest) > _MOST_MESSAGE:
                return None
        return None

    async def write_out(self, data: bytes) -> None:
        await self.streams["stdout"].write(data)

    async def write_error(self, data: bytes) -> None:
        await self.streams["stderr"].write(data)

    async def finish(self, status: Mapping[str, Any]) -> None:
        for name in ("stdout", "stderr"):
            if name in self.streams:
                await self.streams[name].finish()
        await self.streams["error"].write(json.dumps(status).encode())


@asynccontextmanager
async def over_websocket(
    request: web.Request, response: web.WebSocketResponse, wanted: Wanted
) -> AsyncGenerator[Conversation]:
    """Talk by WebSocket; the handler returns `response` (of `websocket_response`) afterwards."""
    await response.prepare(request)
    conversation = _OverWebSocket(response, wanted)
    async with task_scope() as scope:
        scope.spawn(conversation.read_all(), name="WebSocket")
        await conversation.greet()
        yield conversation


def websocket_response(*protocols: str) -> web.WebSocketResponse:
    """A WebSocket that speaks one of these subprotocols."""
    return web.WebSocketResponse(protocols=protocols, max_msg_size=_MOST_MESSAGE, compress=False)


@asynccontextmanager
async def over_spdy(
    request: web.Request, response: web.StreamResponse, wanted: Wanted, protocol: str
) -> AsyncGenerator[Conversation]:
    """Talk by SPDY; the handler returns `response`, a 101, afterwards. TimeoutError: no streams came."""
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", PROTOCOL_HEADER: protocol}
    async with (
        switched(request, response, headers) as connection,
        running_session(BareWire(connection)) as session,
    ):
        yield _OverSpdy(session.ended, await _accept(session, wanted))


async def _accept(session: Session, wanted: Wanted) -> dict[str, Stream]:
    """The streams that the client announced in its query."""
    expected = {
        "error": True,
        "stdin": wanted.stdin,
        "stdout": wanted.stdout,
        "stderr": wanted.stderr,
        "resize": wanted.tty,
    }
    found: dict[str, Stream] = {}
    async with asyncio.timeout(_STREAMS_WITHIN):
        while missing := [name for name, needed in expected.items() if needed and name not in found]:
            stream = await session.accept()
            kind = stream.headers.get("streamtype", "")
            if kind in missing:
                found[kind] = stream
            else:
                await stream.drop()
    return found
