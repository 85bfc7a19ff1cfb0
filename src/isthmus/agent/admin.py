"""A client of Envoy's admin interface, as small as the agent beside every Envoy needs it.

It speaks just the HTTP/1.1 that Envoy's admin answers with, over one connection a request, bounded in size
and time; a whole HTTP stack would cost every pod of the mesh several megabytes.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from isthmus.agent.errors import AdminUnreachableError

_MOST_BYTES = 1 << 20


class Admin(Protocol):
    """What readiness and draining ask of Envoy. Both raise AdminUnreachableError for all but 200."""

    async def get(self, path: str) -> str:
        """The text at a path with its query."""
        ...

    async def post(self, path: str) -> str:
        """Do what the path says."""
        ...


@dataclass(frozen=True, slots=True)
class AdminClient:
    """Envoy's admin at a port of the loopback interface. `timeout` is seconds for a whole exchange."""

    port: int
    timeout: float = 2.0

    async def get(self, path: str) -> str:
        """The text at a path with its query."""
        return await self._exchange("GET", path)

    async def post(self, path: str) -> str:
        """Do what the path says."""
        return await self._exchange("POST", path)

    async def _exchange(self, method: str, path: str) -> str:
        try:
            async with asyncio.timeout(self.timeout):
                status, body = await self._ask(method, path)
        except (OSError, TimeoutError, ValueError, EOFError) as error:
            reason = str(error) or type(error).__name__
            raise AdminUnreachableError(f"{method} {path}: {reason}") from error
        if status != 200:
            raise AdminUnreachableError(f"{method} {path}: {status} {body.strip()[:200]}")
        return body

    async def _ask(self, method: str, path: str) -> tuple[int, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=_MOST_BYTES)
        try:
            writer.write(
                f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n"
                "content-length: 0\r\nconnection: close\r\n\r\n".encode()
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            body = await (
                _chunks(reader) if "transfer-encoding: chunked" in head else reader.read(_MOST_BYTES)
            )
            return int(head[9:12]), body.decode(errors="replace")
        finally:
            writer.close()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """The body of a chunked response (RFC 9112 section 7.1)."""
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        if len(body) + size > _MOST_BYTES:
            raise ValueError("the answer is too large")
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    return body


def parse_stats(text: str) -> dict[str, int]:
    """Counters and gauges out of `/stats`, one `name: value` a line; histograms and text are left out."""
    pairs = (line.rpartition(": ") for line in text.splitlines())
    return {name: int(value) for name, _, value in pairs if name and value.isdecimal()}
