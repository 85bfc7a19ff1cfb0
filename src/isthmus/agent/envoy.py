"""Envoy as a child process: started by path, awaited, never left behind, neither running nor as a zombie."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from isthmus.agent.settings import AgentSettings
from isthmus.lib.errors import UserError


def envoy_arguments(settings: AgentSettings, bootstrap: Path) -> list[str]:
    """Envoy's command line, without its path.

    No hot restart (a pod's Envoy is never replaced in place), so there is no shared memory and no base id
    that pods on one machine could collide on. Draining asks clients to leave at once, not gradually.
    """
    drain = round(settings.proxy.drain_duration.total_seconds())
    workers = settings.proxy.concurrency
    return [
        *("--config-path", str(bootstrap)),
        *(("--concurrency", str(workers)) if workers else ()),
        *("--drain-time-s", str(drain)),
        *("--drain-strategy", "immediate"),
        *("--local-address-ip-version", "v6" if settings.ipv6 else "v4"),
        *("--file-flush-interval-msec", "1000"),
        "--disable-hot-restart",
        *("--log-level", settings.log_level),
        *("--component-log-level", "misc:error"),
        *("--log-format", "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n\t%v"),
    ]


@asynccontextmanager
async def running_envoy(
    path: Path, arguments: Sequence[str], *, grace: float = 5.0
) -> AsyncGenerator[Process]:
    """Envoy until the block ends: then SIGTERM, SIGKILL after `grace` seconds, and it is always awaited.

    The grace is short, since Envoy has been drained before.
    """
    try:
        process = await asyncio.create_subprocess_exec(path, *arguments)
    except OSError as error:
        raise UserError(f"Envoy at {path} cannot be started: {error.strerror}; check the image.") from error
    try:
        yield process
    finally:
        await _end(process, grace)


async def _end(process: Process, grace: float) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(grace):
            await process.wait()
    except TimeoutError:
        pass  # it is killed below
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
