"""A gRPC server for long streams: listens, finds who answers a call, and writes for all calls in turn.

It parses no message and knows no service: methods are given by path. A caller is authenticated before its
service hears of it. When it ends it says GOAWAY, and closes connections at random times within a few seconds,
so that they do not all come to its successor at once.
"""

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import structlog

from isthmus.lib.address import split_host_port
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import TaskScope, task_scope
from isthmus.model.identity import Identity
from isthmus.xds.grpc_faults import Faults
from isthmus.xds.grpc_request import Request, timeout_of
from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.grpc_turns import Turns
from isthmus.xds.h2_call import Call, End, Handler
from isthmus.xds.h2_connection import LAST_WORDS, Connection
from isthmus.xds.h2_frames import Frames
from isthmus.xds.limits import DEFAULT, Limits

log = structlog.get_logger()

_BACKLOG = 4096
_SWEEP = 5.0
_MARGIN = 1.0
_LONGEST_TIMEOUT = 30 * 86_400.0
"""Seconds: what is longer is no deadline."""


Authenticate = Callable[[Request], Awaitable[Identity]]
"""Proves who calls by header fields, certificate and address. Raises CallFailed for nobody."""


class GrpcServer:
    """The connections of one listener; made by `serving_grpc` only."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        limits: Limits,
        authenticate: Authenticate | None,
        faults: Faults,
        tasks: TaskScope,
    ) -> None:
        self.limits = limits
        self.faults = faults
        self.frames = Frames()
        loop = asyncio.get_running_loop()
        self.now = loop.time
        self.turns = Turns(loop.call_soon, loop.call_later)
        self.woken = self.turns.pump
        self._handlers = handlers
        self._authenticate = authenticate
        self._tasks = tasks
        self._connections: dict[Connection, None] = {}
        self._calls = 0
        self._deadlines: dict[Call, asyncio.TimerHandle] = {}
        """Of calls whose callers named one."""
        self._none = asyncio.Event()
        self._none.set()

    def opened(self, connection: Connection) -> bool:
        """See `Listener`."""
        self._connections[connection] = None
        self._none.clear()
        return len(self._connections) <= self.limits.connections

    def lost(self, connection: Connection) -> None:
        """See `Listener`."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._none.set()

    def called(self, call: Call) -> None:
        """See `Host`."""
        handler = self._handlers.get(call.request.path)
        if handler is None:
            raise CallFailed(Status.UNIMPLEMENTED, f"there is no method {call.request.path}")
        if self._calls >= self.limits.streams:
            raise CallFailed(Status.RESOURCE_EXHAUSTED, f"there are {self._calls} streams already")
        seconds = timeout_of(call.request.headers)
        if self._authenticate is None:
            call.serve(handler)
        else:
            self._tasks.spawn(_admit(self._authenticate, call, handler, self.limits), name="grpc-admit")
        self._calls += 1
        if seconds < _LONGEST_TIMEOUT:
            ending = (call.finish, Status.DEADLINE_EXCEEDED, "the call's time is over")
            self._deadlines[call] = asyncio.get_running_loop().call_later(seconds, *ending)

    def ended(self, call: Call) -> None:
        """See `Host`."""
        self._calls -= 1
        deadline = self._deadlines.pop(call, None) if self._deadlines else None
        if deadline is not None:
            deadline.cancel()

    async def patrol(self) -> None:
        """Look after all connections, for ever."""
        limits = self.limits
        interval = min(_SWEEP, limits.stall, limits.handshake, limits.keepalive, limits.keepalive_timeout)
        while True:
            await asyncio.sleep(interval)
            now = self.now()
            self.faults.tell(now)
            for connection in tuple(self._connections):
                connection.patrol(now)

    async def drain(self) -> None:
        """Send everybody away within `Limits.drain` seconds, each at another time."""
        loop, most = asyncio.get_running_loop(), self.limits.drain
        timers: list[asyncio.TimerHandle] = []
        for connection in tuple(self._connections):
            connection.leave()
            timers.append(loop.call_later(random.uniform(0, most), connection.end, "the server goes away"))
        try:
            async with asyncio.timeout(most + _MARGIN):
                await self._none.wait()
        except TimeoutError:
            pass
        finally:
            for timer in timers:
                timer.cancel()

    async def abort(self) -> None:
        """Close what is open still."""
        for connection in tuple(self._connections):
            connection.abort(End.GONE)
        await self._none.wait()


async def _admit(authenticate: Authenticate, call: Call, handler: Handler, limits: Limits) -> None:
    """Have a call served if its caller may. Whatever fails in this ends the call alone."""
    try:
        async with asyncio.timeout(limits.handshake):
            call.identity = await authenticate(call.request)
        if not call.over:
            call.serve(handler)
    except CallFailed as failure:
        # A client certificate belongs to its connection: only another connection can show a better one.
        lost = failure.status is Status.UNAUTHENTICATED and call.request.certificate is not None
        (call.dismiss if lost else call.finish)(failure.status, failure.reason)
    except TimeoutError:
        call.finish(Status.UNAVAILABLE, "authentication takes too long; try again")
    except Exception:
        log.exception("a caller cannot be authenticated", peer=call.peer)
        call.finish(Status.UNAVAILABLE, "authentication is not possible now; try again")


@asynccontextmanager
async def serving_grpc(
    address: str | socket.socket,
    handlers: Mapping[str, Handler],
    limits: Limits = DEFAULT,
    *,
    ssl_context: ssl.SSLContext | None = None,
    authenticate: Authenticate | None = None,
    faults: Faults | None = None,
) -> AsyncGenerator[int]:
    """Answer calls of these methods (`/SERVICE/METHOD`) on `address`: `HOST:PORT` (port 0 for any), or a Unix
    socket that is bound; yields the port, 0 for the latter.

    `ssl_context` is for servers; its ALPN is set here. `faults` counts what peers do wrong. Raises OSError
    when the address cannot be bound, and UserError when it is none.
    """
    if ssl_context is not None:
        ssl_context.set_alpn_protocols(["h2"])
    async with task_scope() as tasks:
        server = GrpcServer(handlers, limits, authenticate, faults or Faults(), tasks)
        if isinstance(address, socket.socket):
            loop = asyncio.get_running_loop()
            listener = await loop.create_unix_server(lambda: Connection(server), sock=address)
            port = 0
        else:
            listener = await _listen(address, server, ssl_context)
            port = listener.sockets[0].getsockname()[1]
        tasks.serve(server.patrol(), name="grpc-patrol")
        try:
            try:
                yield port
            finally:
                listener.close()
            await server.drain()
        finally:
            await server.abort()


async def _listen(address: str, server: GrpcServer, ssl_context: ssl.SSLContext | None) -> asyncio.Server:
    where = split_host_port(address)
    if where is None:
        raise UserError(f"{address!r} is no HOST:PORT; write for example 127.0.0.1:15010.")
    return await asyncio.get_running_loop().create_server(
        lambda: Connection(server),
        where.host or None,
        where.port,
        ssl=ssl_context,
        ssl_handshake_timeout=server.limits.handshake if ssl_context is not None else None,
        ssl_shutdown_timeout=LAST_WORDS if ssl_context is not None else None,
        backlog=_BACKLOG,
    )
