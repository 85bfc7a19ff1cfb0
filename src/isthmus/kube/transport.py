"""HTTP to one API server: bounded answers, deadlines, and every failure as one of two errors.

The only module of the room that knows aiohttp. It retries nothing: who calls knows what is worth a retry.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from isthmus import __version__
from isthmus.kube.access import Access
from isthmus.kube.credentials import Credentials, credentials_of
from isthmus.kube.decoding import status_error
from isthmus.kube.errors import Unreachable
from isthmus.kube.tls import make_context

MOST_BODY = 256 << 20
"""Bytes of one answer, unpacked, beyond which it is given up."""
_MOST_ERROR_BODY = 1 << 20
_WHOLE_ANSWER = 6
"""An answer as a whole may take this many times the time within which its next bytes must come."""
_FIRST_ANSWER = 3
"""A stream's beginning may take so many times as long: an API server may have to fill its cache first."""
_FAILURES = (aiohttp.ClientError, OSError, ValueError, EOFError)
"""What aiohttp raises for what the network and the other side do; time-outs are OSErrors."""


class Transport:
    """One API server's connections; made by `running_transport` only."""

    def __init__(
        self,
        access: Access,
        session: aiohttp.ClientSession,
        credentials: Credentials,
        timeout: float,
        most_bytes: int,
    ) -> None:
        self._base = access.server.rstrip("/")
        self._server_name = access.tls_server_name
        self._session = session
        self._credentials = credentials
        self._timeout = timeout
        self._most_bytes = most_bytes

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The whole answer to one request, with these further headers. Raises ApiError and Unreachable."""
        seconds = self._timeout
        limits = aiohttp.ClientTimeout(total=_WHOLE_ANSWER * seconds, sock_connect=seconds, sock_read=seconds)
        whole = {"Accept": "application/json", "Accept-Encoding": "gzip", **(headers or {})}
        if body is not None:
            whole["Content-Type"] = content_type
        try:
            async with self._request(method, path, params, whole, limits, body) as answer:
                await self._check(answer)
                return await _read(answer, self._most_bytes)
        except _FAILURES as error:
            raise self._unreachable(error) from None

    @asynccontextmanager
    async def streaming(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The body of a GET as it arrives, for as long as it lasts; only its beginning has a deadline.

        Raises ApiError and Unreachable, at the start and from the iterator.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=None)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_FIRST_ANSWER * self._timeout):
                    request = self._request("GET", path, params, headers, limits, None)
                    answer = await stack.enter_async_context(request)
                    await self._check(answer)
            except _FAILURES as error:
                raise self._unreachable(error) from None
            yield _Chunks(answer.content, self._unreachable)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        headers: dict[str, str],
        limits: aiohttp.ClientTimeout,
        body: bytes | None,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        if self._session.closed:
            raise Unreachable("our connection to it was closed")
        token = await self._credentials.token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = URL(self._base + path, encoded=True)
        async with self._session.request(
            method,
            url.update_query(params) if params else url,
            headers=headers,
            data=body,
            timeout=limits,
            allow_redirects=False,
            server_hostname=self._server_name,
        ) as answer:
            yield answer

    async def _check(self, answer: aiohttp.ClientResponse) -> None:
        if 200 <= answer.status < 300:
            return
        if answer.status == 401:
            self._credentials.refused()
        phrase = "".join((answer.reason or "Error").split())
        wish = answer.headers.get("Retry-After", "")
        retry_after = float(wish) if wish.isascii() and wish.isdigit() and len(wish) < 6 else None
        body = await _read(answer, _MOST_ERROR_BODY)
        raise status_error(body, answer.status, phrase, retry_after)

    def _unreachable(self, error: Exception) -> Unreachable:
        if isinstance(error, TimeoutError):
            return Unreachable(f"it did not answer within {self._timeout:g} s")
        return Unreachable(_explain(error))


class _Chunks(AsyncIterator[bytes]):
    """A body's bytes as they arrive."""

    def __init__(self, content: aiohttp.StreamReader, explain: Callable[[Exception], Unreachable]) -> None:
        self._content = content
        self._explain = explain

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._content.readany()
        except _FAILURES as error:
            raise self._explain(error) from None
        if not chunk:
            raise StopAsyncIteration
        return chunk


async def _read(answer: aiohttp.ClientResponse, most: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > most:
            raise Unreachable(f"its answer is larger than {most >> 20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)


def _explain(error: Exception) -> str:
    """What happened, in one clause. It quotes nothing that we sent."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or "verification failed"
            return f"its certificate is not trusted: {reason}"
        case aiohttp.ClientConnectorDNSError():
            return "its name cannot be resolved"
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            return "no TLS connection could be made with it"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno  # the loop's own text says only that a call failed, and to where
            return f"no connection: {os.strerror(number) if number else 'it failed'}"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            return "its answer broke off or cannot be unpacked"
        case aiohttp.ClientResponseError():
            return "its answer is no valid HTTP"
        case OSError():
            return f"the connection broke: {error.strerror or type(error).__name__}"
        case _:
            return f"the request failed: {type(error).__name__}"


@asynccontextmanager
async def running_transport(
    access: Access, *, timeout: float, most_bytes: int = MOST_BODY
) -> AsyncGenerator[Transport]:
    """Connections to one API server, closed with the block. Nothing is sent yet, no proxy is ever used.

    Raises Unreachable where the certificates cannot be set up.
    """
    try:
        context = make_context(access)
    except (ssl.SSLError, ValueError):
        raise Unreachable("its certificate authority or our client certificate cannot be read") from None
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context or True, socket_factory=_make_socket),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"isthmus/{__version__}"},
        trust_env=False,
        read_bufsize=1 << 18,
    ) as session:
        yield Transport(access, session, credentials_of(access, context), timeout, most_bytes)


def _make_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices a peer which vanished without a word, within about 45 s."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 5)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made
