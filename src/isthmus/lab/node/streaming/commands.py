"""A command in a container, with a client at its standard streams: with pipes, or on a terminal of its own.

It ends with its client: should that leave, the command is killed, and what it started with it.
"""

import asyncio
import fcntl
import os
import signal
import struct
import termios
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from typing import Any

from isthmus.lab.node.enter import enter_command
from isthmus.lab.node.files import read_some, write_all
from isthmus.lab.node.runtime import RunningState
from isthmus.lab.node.streaming.conversations import Conversation, Wanted
from isthmus.lib.lifecycle import task_scope

SUCCESS: Mapping[str, Any] = {"metadata": {}, "status": "Success"}
"""The `Status` of a command that ended well."""
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
"""Unlock a terminal, and open its other end without a path to it (ioctl_tty(2))."""
_DRAIN = 1.0
"""Seconds for what a command has said to arrive, when it has ended but what it started holds its streams."""


async def run_command(
    state: RunningState, argv: list[str], wanted: Wanted, conversation: Conversation
) -> Mapping[str, Any]:
    """Run it to its end; the `Status` that says how it ended."""
    async with _started(state, argv, wanted) as command, task_scope() as scope:
        if command.stdin is not None:
            scope.spawn(copy_in(conversation, command.stdin, close=not wanted.tty), name="stdin")
        if wanted.tty:
            scope.spawn(copy_sizes(conversation, command.outputs[0]), name="sizes")
        sinks = [conversation.write_out, conversation.write_error]
        writers = [sink for sink, needed in zip(sinks, (wanted.stdout, wanted.stderr), strict=True) if needed]
        copies = [
            scope.spawn(_copy_out(file, sink), name="output")
            for file, sink in zip(command.outputs, writers, strict=False)
        ]
        ended = scope.spawn(command.process.wait(), name="command")
        left = scope.spawn(conversation.gone.wait(), name="client")
        await asyncio.wait({ended, left}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            return SUCCESS
        if copies:
            await asyncio.wait(copies, timeout=_DRAIN)
        return exit_status(ended.result())


def failure(error: OSError) -> Mapping[str, Any]:
    """The `Status` of a command that could not be started."""
    text = f"error executing command in container: {error}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {text}",
        "reason": "InternalError",
        "details": {"causes": [{"message": text}]},
        "code": 500,
    }


def exit_status(code: int) -> Mapping[str, Any]:
    """The `Status` for an exit code; a signal's number is negative (remotecommand.NonZeroExitCodeReason)."""
    if code == 0:
        return SUCCESS
    number = code if code > 0 else 128 - code
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {number}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(number)}]},
    }


@dataclass(frozen=True, slots=True)
class _Command:
    """What is ours of a command: where it reads, and where it says what it says (stdout, stderr)."""

    process: asyncio.subprocess.Process
    stdin: FileIO | None
    outputs: list[FileIO]


@asynccontextmanager
async def _started(state: RunningState, argv: list[str], wanted: Wanted) -> AsyncGenerator[_Command]:
    """The command, killed with its process group at the end of the block."""
    entrance = enter_command(state, argv, terminal=wanted.tty)
    async with AsyncExitStack() as stack:
        given: list[FileIO | int] = [asyncio.subprocess.DEVNULL] * 3
        outputs: list[FileIO] = []
        stdin: FileIO | None = None
        with ExitStack() as until_started:
            if wanted.tty:
                master, slave = open_terminal(state)
                terminal = _ours(stack, master, "r+b")
                given = [until_started.enter_context(FileIO(slave, "r+b"))] * 3
                outputs, stdin = [terminal], terminal if wanted.stdin else None
            else:
                for number, needed in enumerate((wanted.stdin, wanted.stdout, wanted.stderr)):
                    if not needed:
                        continue
                    read_end, write_end = os.pipe()
                    if number == 0:
                        given[0] = until_started.enter_context(FileIO(read_end))
                        stdin = _ours(stack, write_end, "wb")
                    else:
                        given[number] = until_started.enter_context(FileIO(write_end, "wb"))
                        outputs.append(_ours(stack, read_end, "rb"))
            process = await asyncio.create_subprocess_exec(
                *entrance.argv,
                stdin=given[0],
                stdout=given[1],
                stderr=given[2],
                env=entrance.env,
                start_new_session=True,
            )
        stack.push_async_callback(_kill, process)
        yield _Command(process, stdin, outputs)


def open_terminal(state: RunningState) -> tuple[int, int]:
    """A new terminal of a container's own, for its user: our end of it, and the command's. OSError."""
    master = os.open(f"/proc/{state.pid}/root/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        os.fchown(slave, state.spec.uid, -1)
        return master, slave
    except BaseException:
        os.close(master)
        raise


def _ours(stack: AsyncExitStack, fd: int, mode: str) -> FileIO:
    os.set_blocking(fd, False)
    file = FileIO(fd, mode)
    stack.callback(file.close)
    return file


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())


async def copy_in(conversation: Conversation, file: FileIO, *, close: bool) -> None:
    """Pass on what is typed; where it ends, so does the file, if it is to be closed."""
    try:
        while data := await conversation.read():
            await write_all(file, data)
    except OSError:  # it does not read any more: what is still typed is nobody's
        while await conversation.read():
            pass
    finally:
        if close:
            file.close()


async def _copy_out(file: FileIO, write: Callable[[bytes], Awaitable[None]]) -> None:
    with suppress(ConnectionError):
        while data := await read_some(file):
            await write(data)


async def copy_sizes(conversation: Conversation, terminal: FileIO) -> None:
    """Give the terminal the size of the client's, whenever that changes (and SIGWINCH to who runs on it)."""
    while (size := await conversation.next_size()) is not None:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))
