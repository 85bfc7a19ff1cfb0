"""Runs a command in a running container and collects what it says: for probes and hooks."""

import asyncio
import os

from isthmus.lab.node.enter import enter_command
from isthmus.lab.node.runtime import RunningState

_MOST_OUTPUT = 10_240


async def run_command(state: RunningState, command: list[str]) -> tuple[int, str]:
    """Exit code and the first 10 KiB of what it said. Cancelled, it kills the command."""
    entrance = enter_command(state, command)
    process = await asyncio.create_subprocess_exec(
        *entrance.argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=entrance.env,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        output = b""
        while chunk := await process.stdout.read(4096):
            output = (output + chunk)[:_MOST_OUTPUT]
        return await process.wait(), output.decode(errors="replace").strip()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
