"""Actions of probes and hooks: HTTP requests, connections, commands, pauses; and how probe results are
counted.

gRPC probes are not made: they fail, and say so.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from isthmus.lab.node.podspec import Container, Handler, HttpGet, Probe

RunCommand = Callable[[list[str]], Awaitable[tuple[int, str]]]
"""Runs a command in the container: its exit code and the end of what it said."""
_MOST_BODY = 10_240
_USER_AGENT = "kube-probe/1.30"


@dataclass(frozen=True, slots=True)
class Target:
    """The container that an action is for, and its pod's address."""

    container: Container
    address: str
    run: RunCommand


async def act(handler: Handler, target: Target, timeout: float | None) -> str | None:
    """Do what a probe or hook says: None where it succeeded, else why it failed. `timeout` is in seconds."""
    try:
        async with asyncio.timeout(timeout):
            if handler.exec is not None:
                code, output = await target.run(list(handler.exec.command))
                return None if code == 0 else f"command exited with code {code}: {output}".rstrip(": ")
            if handler.http_get is not None:
                return await _get(handler.http_get, target)
            if handler.tcp_socket is not None:
                port = resolve_port(handler.tcp_socket.port, target.container)
                _, writer = await asyncio.open_connection(handler.tcp_socket.host or target.address, port)
                writer.close()
                return None
            if handler.sleep is not None:
                await asyncio.sleep(handler.sleep.seconds)
                return None
    except TimeoutError:
        return f"timed out after {timeout:g} seconds"
    except (OSError, aiohttp.ClientError, ValueError) as error:
        return str(error) or type(error).__name__
    return "gRPC probes are not supported by the lab" if handler.grpc is not None else "nothing to do"


def resolve_port(port: int | str, container: Container) -> int:
    """A port's number; ValueError where the container declares none of that name."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for declared in container.ports:
        if declared.name == port:
            return declared.container_port
    raise ValueError(f"couldn't find port {port!r} in container {container.name}")


async def _get(get: HttpGet, target: Target) -> str | None:
    scheme, port = get.scheme.lower(), resolve_port(get.port, target.container)
    url = f"{scheme}://{get.host or target.address}:{port}/{get.path.lstrip('/')}"
    headers = {"User-Agent": _USER_AGENT} | {header.name: header.value for header in get.http_headers}
    connector = aiohttp.TCPConnector(ssl=_unverified() if scheme == "https" else True, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url, headers=headers, allow_redirects=False) as answer,
    ):
        await answer.content.read(_MOST_BODY)
        return None if 200 <= answer.status < 400 else f"HTTP probe failed with statuscode: {answer.status}"


def _unverified() -> ssl.SSLContext:
    """Probes do not verify certificates (Kubernetes: HTTP probes)."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(slots=True)
class Verdict:
    """Counts a probe's results in a row; `passing` changes only as a threshold is met."""

    probe: Probe
    passing: bool
    _row: int = 0
    _last: bool | None = None

    def count(self, success: bool) -> bool:
        """Take one result; whether the threshold of its kind is met by now."""
        self._row = self._row + 1 if success == self._last else 1
        self._last = success
        needed = self.probe.success_threshold if success else self.probe.failure_threshold
        if self._row >= needed:
            self.passing = success
            return True
        return False
