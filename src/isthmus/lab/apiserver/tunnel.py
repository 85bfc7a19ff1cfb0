"""A request that switches protocols is handed to the server it is for, and what both then say, to the other.

Source: `UpgradeAwareHandler` of k8s.io/apimachinery. What is carried is not looked at.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from isthmus.lab.switching import Connection, switched
from isthmus.lib.lifecycle import task_scope

_CHUNK = 1 << 16
_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 60
_MOST_ANSWER = 1 << 20
_NOT_FOR_THE_OTHER = ("authorization", "content-length", "transfer-encoding")


class DeclinedError(Exception):
    """The server did not switch: `status` and `text` are its answer, as far as it could be read."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def wants_upgrade(request: web.Request) -> bool:
    """Whether another protocol is asked for (`httpstream.IsUpgradeRequest`)."""
    return any("upgrade" in line.lower() for line in request.headers.getall("Connection", ()))


async def tunnel(
    request: web.Request, url: URL, headers: Mapping[str, str], tls: ssl.SSLContext | None
) -> web.StreamResponse:
    """Switch protocols with the server at `url`, and carry what is said until either side ends.

    DeclinedError where it answers something else; OSError or TimeoutError where it does not answer.
    """
    async with _connection(url, tls) as upstream:
        async with asyncio.timeout(_ANSWER_SECONDS):
            upstream[1].write(_head(request.method, url, headers))
            status, answered = await _read_head(upstream[0])
            if status != 101:
                raise DeclinedError(status, await _read_text(upstream[0], answered))
        response = web.StreamResponse(status=101)
        async with switched(request, response, answered) as client, task_scope() as scope:
            ways = [scope.spawn(_copy(client, upstream), name="to the server")]
            ways.append(scope.spawn(_copy(upstream, client), name="to the client"))
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        return response


@asynccontextmanager
async def _connection(url: URL, tls: ssl.SSLContext | None) -> AsyncGenerator[Connection]:
    async with asyncio.timeout(_CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(url.host, url.port, ssl=tls, limit=_CHUNK)
    try:
        yield reader, writer
    finally:
        writer.close()


def _head(method: str, url: URL, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1", f"Host: {headers.get('Host', url.raw_authority)}"]
    lines += [
        f"{name}: {value}"
        for name, value in headers.items()
        if name.lower() not in ("host", *_NOT_FOR_THE_OTHER)
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, CIMultiDict[str]]:
    """Status and headers of the answer; ConnectionError where it is no HTTP, or too long."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        pairs = [line.split(":", 1) for line in lines[1:] if line]
        return status, CIMultiDict((name.strip(), value.strip()) for name, value in pairs)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError):
        raise ConnectionAbortedError("it answers no HTTP") from None


async def _read_text(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> str:
    length = headers.get("Content-Length", "")
    if not length.isdecimal():
        return ""
    try:
        return (await reader.readexactly(min(int(length), _MOST_ANSWER))).decode(errors="replace")
    except asyncio.IncompleteReadError as error:
        return error.partial.decode(errors="replace")


async def _copy(source: Connection, target: Connection) -> None:
    try:
        while data := await source[0].read(_CHUNK):
            target[1].write(data)
            await target[1].drain()
    except OSError:
        return
