"""Starts one container as a process, and ends it: what a container runtime does.

A container is a process tree in mount, PID, UTS and IPC namespaces of its own and in its pod's network
namespace. It dies with the node agent, even if that is killed: restarting the agent restarts pods cleanly, it
adopts none.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import msgspec

from isthmus.lab.images import RootFilesystem
from isthmus.lab.network import inside
from isthmus.lab.node import launch
from isthmus.lab.node.files import read_some
from isthmus.lab.node.logs import LogFile, copy_stream
from isthmus.lib.lifecycle import task_scope

_MOST_STATUS = 4096


class StartError(Exception):
    """The container's program did not start; `str(error)` is what a kubelet would show."""


class LaunchSpec(msgspec.Struct, frozen=True):
    """Everything that `launch` and `enter` need to know of a container."""

    mark: str
    rootfs_folder: str
    rootfs: RootFilesystem
    read_only_root: bool
    hostname: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    uid: int
    gid: int
    groups: list[int]
    capabilities: list[int]
    no_new_privileges: bool
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


class RunningState(msgspec.Struct, frozen=True):
    """What `enter` reads of a running container: its PID 1 as the machine counts, and how it was launched."""

    pid: int
    spec: LaunchSpec


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended: its exit code (128 + signal, where one ended it), and that signal or 0."""

    code: int
    signal: int


@dataclass(frozen=True, slots=True)
class ContainerProcess:
    """A started container."""

    state: RunningState
    started: datetime
    process: asyncio.subprocess.Process
    stdin: FileIO | None = None
    """Where its program reads what is typed, None where it reads nothing."""
    terminal: FileIO | None = None
    """Our end of the terminal that it runs on, None where it runs on none."""

    async def exited(self) -> Exit:
        """Wait for its end; any number may wait."""
        code = await self.process.wait()
        return Exit(128 - code, -code) if code < 0 else Exit(code, 0)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    def terminate(self) -> None:
        """Ask its PID 1 to end (SIGTERM)."""
        if self.running:
            try:
                os.kill(self.state.pid, signal.SIGTERM)
            except ProcessLookupError:
                return

    def kill(self) -> None:
        """End all of its processes (SIGKILL)."""
        if self.running:
            try:
                os.kill(self.state.pid, signal.SIGKILL)
            except ProcessLookupError:
                return


@asynccontextmanager
async def running_container(
    spec: LaunchSpec, netns: str, state_file: Path, log: LogFile
) -> AsyncGenerator[ContainerProcess]:
    """Start a container and yield when its program begins; at the end of the block it is killed if it lives.

    `state_file` exists (as `RunningState`) while it runs. Raises StartError.
    """
    spec_file = state_file.with_suffix(".launch")
    _write_private(spec_file, msgspec.json.encode(spec))
    async with AsyncExitStack() as stack:
        stack.callback(log.finish)
        stack.callback(spec_file.unlink, missing_ok=True)
        status = await stack.enter_async_context(_pipe())
        streams = await stack.enter_async_context(_terminal() if spec.tty else _pipes(stdin=spec.stdin))
        process = await _spawn(_command(netns, spec_file, status.write_end), status, streams)
        stack.push_async_callback(_kill, process)
        scope = await stack.enter_async_context(task_scope())
        copies = [
            scope.spawn(copy_stream(reader, name, log), name=f"copy {name}")
            for name, reader in streams.readers.items()
        ]
        report = (await status.reader.read(_MOST_STATUS)).decode(errors="replace")
        if not report.isdigit():
            await asyncio.wait({*copies})
            raise StartError(report.removeprefix("error: ") or f"the launcher failed: {_last_words(log)}")
        state = RunningState(int(report), spec)
        container = ContainerProcess(state, datetime.now(UTC), process, streams.stdin, streams.terminal)
        _write_private(state_file, msgspec.json.encode(container.state))
        stack.callback(state_file.unlink, missing_ok=True)
        try:
            yield container
        finally:
            await _kill(process)
        await asyncio.wait({*copies})


@dataclass(slots=True)
class _Pipe:
    """A real pipe, for a socket in its place could not be opened as /dev/stdout."""

    reader: asyncio.StreamReader
    write_end: int


@asynccontextmanager
async def _pipe() -> AsyncGenerator[_Pipe]:
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb")
    )
    pipe = _Pipe(reader, write_end)
    try:
        yield pipe
    finally:
        transport.close()
        if pipe.write_end >= 0:
            os.close(pipe.write_end)


@dataclass(frozen=True, slots=True)
class _Streams:
    """A program's standard streams: its ends (stdin, stdout, stderr), which `release` closes, and ours."""

    ends: tuple[int, int, int]
    release: Callable[[], None]
    readers: dict[str, asyncio.StreamReader]
    stdin: FileIO | None = None
    terminal: FileIO | None = None


@asynccontextmanager
async def _pipes(*, stdin: bool) -> AsyncGenerator[_Streams]:
    async with _pipe() as output, _pipe() as errors, AsyncExitStack() as stack:
        read_end, typed = asyncio.subprocess.DEVNULL, None
        if stdin:
            read_end, write_end = os.pipe()
            os.set_blocking(write_end, False)
            typed = stack.enter_context(FileIO(write_end, "wb"))

        def release() -> None:
            for pipe in (output, errors):
                os.close(pipe.write_end)
                pipe.write_end = -1
            if typed is not None:
                os.close(read_end)

        readers = {"stdout": output.reader, "stderr": errors.reader}
        yield _Streams((read_end, output.write_end, errors.write_end), release, readers, typed)


@asynccontextmanager
async def _terminal() -> AsyncGenerator[_Streams]:
    master, slave = os.openpty()
    os.set_blocking(master, False)
    with FileIO(master, "r+b") as terminal:
        async with task_scope() as scope:
            reader = asyncio.StreamReader()

            def release() -> None:
                os.close(slave)
                scope.spawn(_feed(terminal, reader), name="terminal")

            yield _Streams((slave, slave, slave), release, {"stdout": reader}, terminal, terminal)


async def _feed(file: FileIO, reader: asyncio.StreamReader) -> None:
    while data := await read_some(file):
        reader.feed_data(data)
    reader.feed_eof()


async def _spawn(command: list[str], status: _Pipe, streams: _Streams) -> asyncio.subprocess.Process:
    try:
        stdin, stdout, stderr = streams.ends
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(status.write_end,),
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd="/",
        )
    finally:
        os.close(status.write_end)  # now the container holds the only ones: they end when it does
        status.write_end = -1
        streams.release()


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the process that stands for a container, and so all of it; wait until it is gone."""
    if process.returncode is None:
        process.kill()
        await asyncio.shield(process.wait())


def _command(netns: str, spec_file: Path, status: int) -> list[str]:
    """From outside in; `unshare` stays as the one process that stands for the container outside."""
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--kill-child", "--"]
    program = [sys.executable, "-I", "-S", launch.__file__, str(spec_file), str(status)]
    return ["setpriv", "--pdeathsig", "KILL", "--", *inside(netns, [*namespaces, *program])]


def _last_words(log: LogFile) -> str:
    lines = log.path.read_text(errors="replace").splitlines()
    return lines[-1].split(" ", 3)[-1] if lines else "it said nothing"


def _write_private(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{path.name}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    unfinished.replace(path)
