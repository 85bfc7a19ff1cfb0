"""Serves the cluster's names on UDP and TCP. Nonsense is dropped, what is too large truncated."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

import dns.exception
import dns.flags
import dns.message
import structlog

Answer = Callable[[dns.message.Message], dns.message.Message]
_IDLE = 30.0
"""Seconds that a TCP connection may be silent."""
_PLAIN_UDP_SIZE = 512
_log = structlog.get_logger()


@asynccontextmanager
async def running_dns(address: str, port: int, answer: Answer) -> AsyncGenerator[int]:
    """Answer on one address, UDP and TCP; yields the port that was bound."""
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(lambda r, w: _serve_connection(r, w, answer), address, port)
    bound = server.sockets[0].getsockname()[1]
    try:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(answer), local_addr=(address, bound)
        )
        try:
            yield bound
        finally:
            transport.close()
    finally:
        server.close()
        await server.wait_closed()


def respond(wire: bytes, answer: Answer, limit: int | None = None) -> bytes | None:
    """The response to one message, None where none can be given. `limit`: raised to what the sender takes."""
    try:
        query = dns.message.from_wire(wire)
        if query.flags & dns.flags.QR:
            return None
        response = answer(query)
        size = 65535 if limit is None else max(limit, query.payload if query.edns >= 0 else 0)
        return response.to_wire(max_size=size, prefer_truncation=True)
    except (dns.exception.DNSException, ValueError):
        return None


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        response = respond(data, self._answer, _PLAIN_UDP_SIZE)
        if response is not None and self._transport is not None:
            self._transport.sendto(response, addr)


async def _serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer
) -> None:
    try:
        while True:
            async with asyncio.timeout(_IDLE):
                size = int.from_bytes(await reader.readexactly(2))
                response = respond(await reader.readexactly(size), answer)
                if response is None:
                    return
                writer.write(len(response).to_bytes(2) + response)
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        return
    finally:
        writer.close()
