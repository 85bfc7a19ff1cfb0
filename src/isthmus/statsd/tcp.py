"""Statsd over TCP: streams cut into whole lines. A line that is too long ends its connection.

Reading is as fast as the lines are taken, so that TCP itself slows a sender down.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError
from isthmus.statsd.counts import Counts
from isthmus.statsd.line import LONGEST_LINE

MOST_CONNECTIONS = 1024


class _Lines(asyncio.Protocol):
    """One connection."""

    def __init__(
        self, take: Callable[[bytes], None], counts: Counts, open_connections: set[asyncio.Transport]
    ) -> None:
        self._take = take
        self._counts = counts
        self._open = open_connections
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = self._transport = cast("asyncio.Transport", transport)
        if len(self._open) >= MOST_CONNECTIONS:
            self._counts.tcp_connections_refused += 1
            transport.abort()
            return
        self._counts.tcp_connections += 1
        self._open.add(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if newline:
            self._take(whole)
        if len(self._rest) > LONGEST_LINE:
            self._counts.tcp_too_long_lines += 1
            self._rest = b""
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self._transport)
        if exc is not None:
            self._counts.tcp_connection_errors += 1
        elif self._rest:
            self._take(self._rest)


@asynccontextmanager
async def receiving_streams(
    address: HostPort, take: Callable[[bytes], None], counts: Counts
) -> AsyncGenerator[int]:
    """Hand whole lines to `take`, which must not wait; yields the bound port.

    Raises UserError for an address that cannot be used.
    """
    open_connections = set[asyncio.Transport]()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(
            lambda: _Lines(take, counts, open_connections), address.host, address.port
        )
    except OSError as error:
        raise UserError(
            f"The TCP address {address} cannot be used: {error.strerror}; "
            "free it or name another (--tcp-address)."
        ) from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for transport in tuple(open_connections):
            transport.abort()
        await server.wait_closed()
