"""Programs that run for as long as a block does, and together: the end of one is the end of all.

What they print goes to our own standard error, and the last of it into the error when one ends by itself.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from isthmus.lab.node.files import read_some
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import task_scope

_GRACE = 15.0
_OUTPUT_WITHIN = 1.0
"""Seconds for the last of a program's output, when it has ended but what it started holds its streams."""
_LAST_LINES, _LONGEST_LINE = 8, 600
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Program:
    """One that runs; `said` holds its last lines, as far as `reading` has come."""

    file: str
    process: asyncio.subprocess.Process
    said: deque[str]
    reading: asyncio.Task[None]

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.file).name

    def last_words(self) -> str:
        """What it printed last, a line each, indented; "" where it printed nothing."""
        return "".join(f"\n  {line}" for line in self.said)


@asynccontextmanager
async def running_programs(*commands: Sequence[str]) -> AsyncGenerator[Sequence[Program]]:
    """Run the commands; UserError with file and last words in the block when the first of them ends.

    They are started in order and stopped in reverse: asked to end, then made to. Should we be killed, they
    are killed too.
    """
    async with AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(_running(command)) for command in commands]
        async with task_scope() as scope:
            for program in programs:
                scope.serve(_fail_at_end(program), name=program.name)
            yield programs


@asynccontextmanager
async def _running(command: Sequence[str]) -> AsyncGenerator[Program]:
    ours, theirs = os.pipe()  # asyncio's own would hide a program's end for as long as its children live
    os.set_blocking(ours, False)
    with FileIO(ours) as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,  # a signal for all of our processes is ours to pass on, in good order
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise UserError(f"{command[0]} cannot be run: {error.strerror or error}.") from None
        finally:
            os.close(theirs)
        said: deque[str] = deque(maxlen=_LAST_LINES)
        async with task_scope() as scope:
            try:
                reading = scope.spawn(_pass_on(output, said), name=f"output of {command[0]}")
                yield Program(command[0], process, said, reading)
            finally:
                await _end(process)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


async def _pass_on(output: FileIO, said: deque[str]) -> None:
    unfinished = b""
    while data := await read_some(output):
        sys.stderr.write(data.decode(errors="replace"))
        *lines, unfinished = (unfinished + data).split(b"\n")
        said.extend(line.decode(errors="replace")[:_LONGEST_LINE] for line in lines if line.strip())
        unfinished = unfinished[:_LONGEST_LINE]
    if unfinished.strip():
        said.append(unfinished.decode(errors="replace"))


async def _fail_at_end(program: Program) -> None:
    code = await program.process.wait()
    await asyncio.wait([program.reading], timeout=_OUTPUT_WITHIN)
    words = program.last_words()
    how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    raise UserError(
        f"{program.file} {how}{f'. It printed last:{words}' if words else ', and printed nothing.'}"
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask the program to end, then make it; and what it started with it."""
    if process.returncode is None:
        process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
