"""Child processes that are spoken to in lines, and what they cost."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_LONGEST_LINE = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used: CPU seconds of all its threads, and its resident memory in bytes."""

    cpu: float
    memory: int


def usage(pid: int) -> Usage:
    """Read from /proc: CPU from schedstat, exact to the nanosecond, of the threads that live."""
    root = Path(f"/proc/{pid}")
    spent = sum(int((task / "schedstat").read_text().split()[0]) for task in (root / "task").iterdir())
    pages = int((root / "statm").read_text().split()[1])
    return Usage(spent / 1e9, pages * os.sysconf("SC_PAGE_SIZE"))


class Child:
    """A running process; made by `running_child` only."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def line(self) -> str:
        """The next line of its standard output."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"process {self.pid} ended: {await self._process.wait()}")
        return line.decode().strip()

    async def answer(self) -> Json:
        """The next line, as JSON."""
        return json.loads(await self.line())

    async def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def ask(self, order: Json) -> Json:
        """Tell it something as JSON, and get its answer."""
        await self.tell(json.dumps(order))
        return await self.answer()


@asynccontextmanager
async def running_child(*command: str, log: Path | None = None) -> AsyncGenerator[Child]:
    """A Python module or program (`("-m", "bench.floor", …)`) that ends with the block."""
    errors = log.open("ab") if log is not None else None
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        limit=_LONGEST_LINE,
    )
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if errors is not None:
            errors.close()
