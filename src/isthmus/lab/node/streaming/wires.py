"""What carries SPDY: a bare connection, or the binary messages of a WebSocket (KEP-4006)."""

from dataclasses import dataclass
from typing import Protocol

from aiohttp import WSMsgType, web

from isthmus.lab.switching import Connection

_CHUNK = 1 << 16


class Wire(Protocol):
    """Bytes both ways, in order."""

    async def read(self) -> bytes:
        """What came next; empty at the end, however it came."""
        ...

    async def write(self, data: bytes) -> None:
        """Send; waits while the peer does not read. ConnectionError where it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class BareWire:
    """A connection of its own."""

    connection: Connection

    async def read(self) -> bytes:
        """What came next."""
        try:
            return await self.connection[0].read(_CHUNK)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send."""
        writer = self.connection[1]
        if writer.is_closing():
            raise ConnectionResetError("the client is gone")
        writer.write(data)
        await writer.drain()


@dataclass(frozen=True, slots=True)
class MessageWire:
    """The messages of a WebSocket, whose borders mean nothing."""

    socket: web.WebSocketResponse

    async def read(self) -> bytes:
        """The next message that holds something; text is no part of it and ends the connection."""
        while True:
            message = await self.socket.receive()
            if message.type is not WSMsgType.BINARY:
                return b""
            if message.data:
                return bytes(message.data)

    async def write(self, data: bytes) -> None:
        """Send as one message."""
        await self.socket.send_bytes(data)
