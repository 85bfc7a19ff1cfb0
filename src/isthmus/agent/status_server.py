"""What the agent answers on its status port: readiness, metrics, probes of the application, and the order to
end (`POST /quitquitquit`).

The kubelet comes to the pod's address, so all addresses are served; who ends the sidecar must be in the pod.
It speaks just the HTTP/1.1 that a probe needs, one request a connection.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

from isthmus.agent.app_probes import make_probe
from isthmus.agent.static_resources import HEALTH_PATH
from isthmus.config.app_probes import PREFIX, AppProbes
from isthmus.lib.errors import UserError

QUIT_PATH = "/quitquitquit"
METRICS_PATH = "/metrics"
_REQUEST_SECONDS = 5.0
_MOST_HEADER_BYTES = 8192

Answer = tuple[HTTPStatus, str]


@dataclass(frozen=True, slots=True)
class Status:
    """What there is to ask. `address` is the pod's, where the application's `probes` are made.

    `why_unready` gives None when ready; `quit` is called when somebody in the pod wants the sidecar to end;
    `metrics` is the agent's own, for Prometheus.
    """

    why_unready: Callable[[], Awaitable[str | None]]
    quit: Callable[[], object]
    probes: AppProbes
    address: str
    metrics: Callable[[], str]

    async def answer(self, method: str, path: str, asker: str) -> Answer:
        """The answer to a request from the address `asker`."""
        if path == QUIT_PATH:
            return self._quit(method, asker)
        if method != "GET":
            return HTTPStatus.NOT_FOUND, "not found"
        if path == HEALTH_PATH:
            return _verdict(await self.why_unready(), "ready")
        if path == METRICS_PATH:
            return HTTPStatus.OK, self.metrics().removesuffix("\n")
        probe = self.probes.get(path)
        if probe is not None:
            return _verdict(await make_probe(probe, self.address), "healthy")
        if path.startswith(PREFIX):
            return HTTPStatus.NOT_FOUND, "no such probe; inject the pod anew"
        return HTTPStatus.NOT_FOUND, "not found"

    def _quit(self, method: str, asker: str) -> Answer:
        if not ip_address(asker.partition("%")[0]).is_loopback:
            return HTTPStatus.FORBIDDEN, "only from within the pod, by its loopback address"
        if method != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, "POST ends the sidecar"
        self.quit()
        return HTTPStatus.OK, "ending"


@asynccontextmanager
async def serving_status(hosts: Sequence[str], port: int, status: Status) -> AsyncGenerator[int]:
    """Answer on these addresses until the block ends; gives the bound port (the first's, if 0 was asked)."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer: Any = writer.get_extra_info("peername")
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
            method, path = _request_line(request)
            writer.write(_response(*await status.answer(method, path, peer[0])))
            async with asyncio.timeout(_REQUEST_SECONDS):
                await writer.drain()
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone, or never asked; the next probe is a new connection
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(serve, hosts, port, limit=_MOST_HEADER_BYTES)
    except OSError as error:
        raise UserError(
            f"The agent cannot listen on {', '.join(hosts)}, port {port}: {error.strerror}; "
            "free that port in the pod, or set statusPort in the proxy's configuration."
        ) from error
    async with server:
        yield server.sockets[0].getsockname()[1]


def _request_line(request: bytes) -> tuple[str, str]:
    """Method and path without its query; both empty where it is no request."""
    words = request.split(b" ", 2)
    if len(words) != 3:
        return "", ""
    return words[0].decode("latin-1"), words[1].split(b"?")[0].decode("latin-1")


def _verdict(reason: str | None, passed: str) -> Answer:
    return (HTTPStatus.OK, passed) if reason is None else (HTTPStatus.SERVICE_UNAVAILABLE, reason)


def _response(status: HTTPStatus, text: str) -> bytes:
    body = f"{text}\n".encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain\r\n"
    return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body
