"""A hop in front of an API server: it ends TLS with the cluster's own keys, and answers truly or not.

Who asks by a client certificate is passed on by impersonation (Kubernetes: User impersonation), who asks by
a token is passed on with it: the real server's rights stay in force. Upgrades (`kubectl exec`) do not pass.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from isthmus.kube.tls import make_context
from isthmus.lab.apiserver.authn import AUTHENTICATED, user_of_certificate
from isthmus.lab.apiserver.formats import LARGEST_BODY
from isthmus.lab.faults.kinds import Fault
from isthmus.lab.faults.lies import LIES, Exchange, honest
from isthmus.lab.pki import ADMIN, PkiFiles, access

_LOOPBACK = IPv4Address("127.0.0.1")
_NOT_PASSED = (
    hdrs.HOST,
    hdrs.CONNECTION,
    hdrs.CONTENT_LENGTH,
    hdrs.TRANSFER_ENCODING,
    hdrs.UPGRADE,
    hdrs.EXPECT,
)
_HANGING_UP = 0.1
"""Seconds for what is being answered when the hop ends."""
MakeSocket = Callable[[tuple[Any, ...]], socket.socket]
"""Makes the sockets to the real server, from what `getaddrinfo` says of it."""


class Hop:
    """A running hop; made by `running_hop` only. Its faults are in force from the next request on.

    Whatever is set holds for every client. `hang` and the fault WATCH_STALL hold back what was asked or is
    being sent, and let go of it when they end, as a process that is stopped and goes on does.
    """

    def __init__(
        self,
        upstream: str,
        anonymous: aiohttp.ClientSession,
        admin: aiohttp.ClientSession,
        connections: Callable[[], list[web.RequestHandler]],
    ) -> None:
        self.address = (_LOOPBACK, 0)
        """Where it listens."""
        self.upstream = upstream
        """The real server's URL; may be set anew where that has moved."""
        self.requests = 0
        self._anonymous = anonymous
        self._admin = admin
        self._connections = connections
        self._fault: Fault | None = None
        self._flowing = asyncio.Event()
        self._answering = asyncio.Event()
        self.heal()

    @property
    def url(self) -> str:
        """Its URL, to be used as the API server's."""
        address, port = self.address
        return f"https://{address}:{port}"

    def suffer(self, fault: Fault) -> None:
        """Answer by this fault from now on, in place of any other; one that is no hop's is an error."""
        self.heal()
        if fault is Fault.API_HANG:
            self._answering.clear()
        elif fault is Fault.WATCH_STALL:
            self._flowing.clear()
        elif fault not in LIES:
            raise ValueError(f"{fault.value} is not made by a hop")
        self._fault = fault

    def heal(self) -> None:
        """Answer truly from now on."""
        self._fault = None
        self._flowing.set()
        self._answering.set()

    def sever(self) -> None:
        """Break every connection."""
        for connection in self._connections():
            if connection.transport is not None:
                connection.transport.abort()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        self.requests += 1
        await self._answering.wait()
        lie = honest if self._fault is None else LIES[self._fault]
        try:
            return await lie(Exchange(request, lambda: self._ask(request), self._flowing))
        except (aiohttp.ClientError, OSError):
            # The real server is gone, or the client, or we cut: for the client the connection breaks.
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    @asynccontextmanager
    async def _ask(self, request: web.Request) -> AsyncGenerator[aiohttp.ClientResponse]:
        assert request.transport is not None
        headers = CIMultiDict(request.headers)
        for name in _NOT_PASSED:
            headers.popall(name, None)
        certificate = request.transport.get_extra_info("peercert")
        if certificate and "Impersonate-User" not in headers:
            user = user_of_certificate(certificate)
            headers.add("Impersonate-User", user.name)
            for group in user.groups:
                if group != AUTHENTICATED:
                    headers.add("Impersonate-Group", group)
        session = self._admin if certificate else self._anonymous
        async with session.request(
            request.method,
            URL(self.upstream + request.raw_path, encoded=True),
            headers=headers,
            data=await request.read() or None,
            allow_redirects=False,
        ) as answer:
            yield answer


@asynccontextmanager
async def running_hop(
    upstream: str,
    files: PkiFiles,
    *,
    address: IPv4Address = _LOOPBACK,
    port: int = 0,
    make_socket: MakeSocket | None = None,
) -> AsyncGenerator[Hop]:
    """A hop, by default on loopback and any free port, that answers truly at first."""
    administrator = access(files, ADMIN, server=upstream)
    async with AsyncExitStack() as stack:
        sessions: list[aiohttp.ClientSession] = []
        for who in (replace(administrator, client_cert_pem=None, client_key_pem=None), administrator):
            connector = aiohttp.TCPConnector(
                ssl=make_context(who) or True, limit=0, socket_factory=make_socket
            )
            session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=(hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT, hdrs.CONTENT_TYPE),
            )
            sessions.append(await stack.enter_async_context(session))
        anonymous, administrative = sessions
        hop = Hop(upstream, anonymous, administrative, lambda: _connections(runner))
        application = web.Application(client_max_size=LARGEST_BODY)
        application.router.add_route("*", "/{path:.*}", hop.handle)
        runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=_HANGING_UP,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, str(address), port, ssl_context=_tls(files))
        await site.start()
        hop.address = (address, runner.addresses[0][1])
        yield hop


def _connections(runner: web.AppRunner) -> list[web.RequestHandler]:
    return [] if runner.server is None else runner.server.connections


def _tls(files: PkiFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca_cert))
    context.load_cert_chain(files.cert("apiserver"), files.key("apiserver"))
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
