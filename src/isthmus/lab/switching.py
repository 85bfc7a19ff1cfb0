"""Takes a connection over from aiohttp's server once it has switched protocols (RFC 9110, 7.8).

aiohttp knows WebSockets only; SPDY, and tunnels that do not look at what they carry, need the connection.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_BUFFER = 1 << 16


class _TakenOver(asyncio.StreamReaderProtocol):
    """Reads in place of the protocol before it, which still learns of the end."""

    def __init__(self, reader: asyncio.StreamReader, before: asyncio.BaseProtocol) -> None:
        super().__init__(reader)
        self._before = before

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)


@asynccontextmanager
async def switched(
    request: web.Request, response: web.StreamResponse, headers: Mapping[str, str]
) -> AsyncGenerator[Connection]:
    """Answer `response`, a 101, with these headers; the connection is the block's, and closed at its end.

    The handler must return `response` afterwards. ConnectionError where the client is gone already.
    """
    response.headers.update(headers)
    response.force_close()
    await response.prepare(request)
    await response.write_eof()
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    reader = asyncio.StreamReader(limit=_BUFFER)
    protocol = _TakenOver(reader, request.protocol)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    transport.resume_reading()
    writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
    try:
        yield reader, writer
    finally:
        writer.close()
