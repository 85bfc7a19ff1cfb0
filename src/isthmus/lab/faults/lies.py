"""What a hop may answer in an API server's place, each a function of one exchange.

A lie is a coroutine function: it gets the exchange, and answers it, truly or not.
"""

import asyncio
import gzip
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from aiohttp import ClientResponse, hdrs, web

from isthmus.lab.faults.kinds import SLOW_SECONDS, Fault

_HOP_BY_HOP = (
    hdrs.CONNECTION,
    hdrs.TRANSFER_ENCODING,
    hdrs.CONTENT_LENGTH,
    hdrs.KEEP_ALIVE,
    hdrs.UPGRADE,
)
"""RFC 9110, 7.6.1; and the length, which is the sender's to tell."""
_SPACES = b" " * 65536
_DRIP = 0.02
"""Seconds between two pieces of an answer without end."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, and how to put it to the real server. `flowing` is cleared while watches are to stall."""

    request: web.Request
    ask: Callable[[], AbstractAsyncContextManager[ClientResponse]]
    flowing: asyncio.Event

    @property
    def is_watch(self) -> bool:
        """Whether it asks for a watch."""
        return self.request.query.get("watch") in ("1", "true")

    async def begin(self, answer: ClientResponse) -> web.StreamResponse:
        """Send the real answer's status and headers."""
        headers = answer.headers.copy()
        for name in _HOP_BY_HOP:
            headers.popall(name, None)
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        await response.prepare(self.request)
        return response

    async def chunks(self, answer: ClientResponse) -> AsyncGenerator[bytes]:
        """The real answer's bytes as they come; those of a watch wait while watches stall."""
        async for chunk in answer.content.iter_any():
            if self.is_watch:
                await self.flowing.wait()
            yield chunk

    def cut(self) -> NoReturn:
        """Break the connection off, as a cable that is pulled or a process that is killed does."""
        if self.request.transport is not None:
            self.request.transport.abort()
        raise ConnectionResetError("cut on purpose")


Lie: TypeAlias = Callable[[Exchange], Awaitable[web.StreamResponse]]


async def honest(exchange: Exchange) -> web.StreamResponse:
    """The real server's answer."""
    async with exchange.ask() as answer:
        response = await exchange.begin(answer)
        async for chunk in exchange.chunks(answer):
            await response.write(chunk)
        await response.write_eof()
        return response


async def slow(exchange: Exchange) -> web.StreamResponse:
    """The same, later."""
    await asyncio.sleep(SLOW_SECONDS)
    return await honest(exchange)


async def cut(exchange: Exchange) -> web.StreamResponse:
    """The first half of a list, or of a watch's next chunk; then nothing more."""
    async with exchange.ask() as answer:
        response = await exchange.begin(answer)
        if exchange.is_watch:
            async for chunk in exchange.chunks(answer):
                await response.write(chunk[: len(chunk) // 2])
                exchange.cut()
        body = await answer.read()
        await response.write(body[: len(body) // 2])
        exchange.cut()


async def truncated_gzip(exchange: Exchange) -> web.StreamResponse:
    """The first half of a compressed answer, with a length that says that it is all."""
    if exchange.is_watch:
        return await honest(exchange)
    async with exchange.ask() as answer:
        body = await answer.read()
    if answer.headers.get(hdrs.CONTENT_ENCODING) != "gzip":
        body = gzip.compress(body, 1)
    headers = {hdrs.CONTENT_ENCODING: "gzip", hdrs.CONTENT_TYPE: "application/json"}
    return web.Response(body=body[: len(body) // 2], status=answer.status, headers=headers)


async def endless(exchange: Exchange) -> web.StreamResponse:
    """An answer that is well-formed as far as it goes."""
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
    await response.prepare(exchange.request)
    await response.write(b'{"kind":"List","items":[')
    while True:
        await response.write(_SPACES)
        await asyncio.sleep(_DRIP)


async def web_page(exchange: Exchange) -> web.StreamResponse:
    """What a load balancer or a captive portal says."""
    return web.Response(text="<html><body>It works!</body></html>", content_type="text/html")


def failing(code: int, reason: str) -> Lie:
    """A `Status` of Kubernetes for everything."""

    async def fail(exchange: Exchange) -> web.StreamResponse:
        message = f"{reason}: the lab was told to say so"
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
        body["message"] = message
        headers = {hdrs.RETRY_AFTER: "1"} if code == 429 else {}
        return web.json_response(body, status=code, headers=headers)

    return fail


async def expired(exchange: Exchange) -> web.StreamResponse:
    """410 to a watch, and to a list from a resource version or a `continue`; the rest is honest."""
    query = exchange.request.query
    if exchange.is_watch or "continue" in query or query.get("resourceVersion", "0") != "0":
        return await failing(410, "Expired")(exchange)
    return await honest(exchange)


LIES: dict[Fault, Lie] = {
    Fault.API_SLOW: slow,
    Fault.API_CUT: cut,
    Fault.API_401: failing(401, "Unauthorized"),
    Fault.API_403: failing(403, "Forbidden"),
    Fault.API_410: expired,
    Fault.API_429: failing(429, "TooManyRequests"),
    Fault.API_500: failing(500, "InternalError"),
    Fault.API_HTML: web_page,
    Fault.API_GZIP: truncated_gzip,
    Fault.API_ENDLESS: endless,
    Fault.WATCH_STALL: honest,
}
