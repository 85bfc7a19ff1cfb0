"""Whether this pod may be sent traffic, and the endpoint that says so to the kubelet (through Envoy)."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from isthmus.agent.admin import Admin, parse_stats
from isthmus.agent.bootstrap import HEALTH_PATH
from isthmus.agent.errors import AdminUnreachableError
from isthmus.lib.errors import UserError

CONFIGURATION_STATS = (
    "/stats?filter=^(cluster_manager.cds.update_success|listener_manager.lds.update_success"
    "|listener_manager.workers_started|server.state)$"
)
_REQUEST_SECONDS = 5.0
_MOST_HEADER_BYTES = 8192
_LIVE = 0
"""`server.state` (envoy.admin.v3.ServerInfo.State)."""


class Readiness:
    """Ready once Envoy has its configuration; from then on as long as Envoy is live; never while draining."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._configured = False
        self._draining = False

    def drain(self) -> None:
        """Unready for good: the pod is going."""
        self._draining = True

    async def why_unready(self) -> str | None:
        """None when ready, else one line for whoever reads the probe's failure."""
        if self._draining:
            return "draining"
        try:
            if self._configured:
                await self._admin.get("/ready")
                return None
            reason = missing_configuration(parse_stats(await self._admin.get(CONFIGURATION_STATS)))
        except AdminUnreachableError as error:
            return f"Envoy's admin does not say that it is live: {error}"
        self._configured = reason is None
        return reason


def missing_configuration(stats: Mapping[str, int]) -> str | None:
    """What Envoy still waits for, by its statistics; None when it serves what the control plane sent."""
    if not stats.get("cluster_manager.cds.update_success"):
        return "no clusters from the control plane yet"
    if not stats.get("listener_manager.lds.update_success"):
        return "no listeners from the control plane yet"
    if not stats.get("listener_manager.workers_started"):
        return "Envoy's workers have not started"
    if stats.get("server.state", -1) != _LIVE:
        return "Envoy is not live"
    return None


@asynccontextmanager
async def serving_health(port: int, why_unready: Callable[[], Awaitable[str | None]]) -> AsyncGenerator[int]:
    """Answer `GET /healthz/ready` on the loopback interface until the block ends; gives the bound port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
                if not _asks_for_health(request):
                    writer.write(_response("404 Not Found", "not found"))
                elif (reason := await why_unready()) is None:
                    writer.write(_response("200 OK", "ready"))
                else:
                    writer.write(_response("503 Service Unavailable", reason))
                await writer.drain()
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone, or never asked; the next probe is a new connection
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(answer, "127.0.0.1", port, limit=_MOST_HEADER_BYTES)
    except OSError as error:
        raise UserError(
            f"The agent cannot listen on 127.0.0.1:{port}: {error.strerror}; "
            "free that port in the pod, or set statusPort in the proxy's configuration."
        ) from error
    async with server:
        yield server.sockets[0].getsockname()[1]


def _asks_for_health(request: bytes) -> bool:
    words = request.split(b" ", 2)
    return len(words) == 3 and words[0] == b"GET" and words[1].split(b"?")[0] == HEALTH_PATH.encode()


def _response(status: str, text: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(text.encode()) + 1}\r\n"
    return f"{head}connection: close\r\n\r\n{text}\n".encode()
