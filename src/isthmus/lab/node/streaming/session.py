"""One SPDY connection's streams: each read and written by itself, over one wire.

A stream that nobody reads holds up to 256 KiB, and then the connection: SPDY as Kubernetes speaks it has no
windows.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from isthmus.lab.node.streaming.frames import (
    CANCEL,
    MOST_DATA,
    REFUSED_STREAM,
    Data,
    Event,
    Frames,
    GoneAway,
    Opened,
    Ping,
    ProtocolError,
    Reset,
)
from isthmus.lab.node.streaming.wires import Wire
from isthmus.lib.lifecycle import task_scope

_MOST_STREAMS = 256
_MOST_HELD = 256 * 1024


class Stream:
    """One stream that the client opened; its headers say what it is for."""

    def __init__(self, session: "Session", number: int, headers: dict[str, str]) -> None:
        self.headers = headers
        self.number = number
        self._session = session
        self._held = deque[bytes]()
        self._size = 0
        self._ended = False
        self._finished = False
        self._changed = asyncio.Event()

    async def read(self) -> bytes:
        """What the client says next; empty when it has said all."""
        while not self._held:
            if self._ended:
                return b""
            await self._change()
        data = self._held.popleft()
        self._size -= len(data)
        self._changed.set()
        return data

    async def write(self, data: bytes) -> None:
        """Say something. ConnectionError where the client is gone."""
        for at in range(0, len(data), MOST_DATA):
            await self._session.send(self._session.frames.data(self.number, data[at : at + MOST_DATA]))

    async def finish(self) -> None:
        """Say that nothing more will come."""
        if not self._finished:
            self._finished = True
            await self._session.send(self._session.frames.data(self.number, b"", ended=True))

    async def drop(self) -> None:
        """Give it up in both directions."""
        self.end()
        self._session.forget(self)
        if not self._finished:
            self._finished = True
            await self._session.send(self._session.frames.reset(self.number, CANCEL))

    async def take(self, data: bytes) -> None:
        """For the session: something came; waits while too much is unread."""
        while self._size >= _MOST_HELD and not self._ended:
            await self._change()
        if data and not self._ended:
            self._held.append(data)
            self._size += len(data)
            self._changed.set()

    def end(self) -> None:
        """For the session: nothing more comes."""
        self._ended = True
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Session:
    """The streams of one connection; made by `running_session`."""

    def __init__(self, wire: Wire) -> None:
        self.frames = Frames()
        self.ended = asyncio.Event()
        """The client is gone, or does not speak SPDY."""
        self._wire = wire
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._opened: asyncio.Queue[Stream] = asyncio.Queue(_MOST_STREAMS)

    async def accept(self) -> Stream:
        """The next stream that the client opens."""
        return await self._opened.get()

    async def send(self, frame: bytes) -> None:
        """Write one frame."""
        await self._wire.write(frame)

    def forget(self, stream: Stream) -> None:
        """What still comes for it is passed over."""
        self._streams.pop(stream.number, None)

    async def read_all(self) -> None:
        """Hand out what comes, until the client is gone."""
        try:
            while data := await self._wire.read():
                for event in self.frames.feed(data):
                    await self._take(event)
        except (ProtocolError, ConnectionError):
            pass
        finally:
            self.ended.set()
            for stream in self._streams.values():
                stream.end()

    async def _take(self, event: Event) -> None:
        match event:
            case Opened(number, headers, ended):
                await self._open(number, headers, ended=ended)
            case Data(number, data, ended):
                if (stream := self._streams.get(number)) is not None:
                    await stream.take(data)
                    if ended:
                        stream.end()
            case Reset(number):
                if (stream := self._streams.pop(number, None)) is not None:
                    stream.end()
            case Ping(number):
                if number % 2:  # the client's own; ours would be even
                    await self.send(self.frames.ping(number))
            case GoneAway():
                return

    async def _open(self, number: int, headers: dict[str, str], *, ended: bool) -> None:
        if number <= self._last or number % 2 == 0:
            raise ProtocolError(f"stream {number} after {self._last}")
        self._last = number
        if len(self._streams) >= _MOST_STREAMS or self._opened.full():
            await self.send(self.frames.reset(number, REFUSED_STREAM))
            return
        stream = self._streams[number] = Stream(self, number, headers)
        if ended:
            stream.end()
        await self.send(self.frames.reply(number))
        self._opened.put_nowait(stream)

    async def leave(self) -> None:
        """Finish every stream, and say goodbye, if the client still listens."""
        try:
            for stream in tuple(self._streams.values()):
                await stream.finish()
            await self.send(self.frames.go_away(self._last))
        except ConnectionError:
            return


@asynccontextmanager
async def running_session(wire: Wire) -> AsyncGenerator[Session]:
    """Serve a client's streams until the block ends."""
    session = Session(wire)
    async with task_scope() as scope:
        scope.spawn(session.read_all(), name="SPDY session")
        try:
            yield session
        finally:
            await session.leave()
