"""What the prober in the client pod sees: every answer with its time, and questions about them."""

import asyncio
import json
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from isthmus.lab.node.enter import Entrance
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import task_scope

_LARGEST_LINE = 1 << 16


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to the prober. `at` is CLOCK_MONOTONIC in seconds; `who` is "" where it failed."""

    at: float
    who: str
    failed: str

    @property
    def cluster(self) -> str:
        """The cluster that it came from."""
        return self.who.partition("/")[0]


@dataclass(slots=True)
class Observed:
    """All answers so far, in order."""

    answers: list[Answer] = field(default_factory=list[Answer])
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, answer: Answer) -> None:
        """Take in one answer."""
        self.answers.append(answer)
        self._arrived.set()
        self._arrived = asyncio.Event()

    def since(self, at: float) -> list[Answer]:
        """Answers from that time on."""
        return self.answers[bisect_left(self.answers, at, key=lambda answer: answer.at) :]

    def failures(self) -> list[Answer]:
        """Every question that got no proper answer."""
        return [answer for answer in self.answers if answer.failed]

    async def first(self, wanted: Callable[[Answer], bool], since: float, *, timeout: float = 60.0) -> Answer:
        """The first answer from `since` on that is wanted; TimeoutError where none comes."""
        looked = 0
        async with asyncio.timeout(timeout):
            while True:
                for answer in self.answers[looked:]:
                    if answer.at >= since and wanted(answer):
                        return answer
                looked = len(self.answers)
                await self._arrived.wait()

    async def without(
        self, unwanted: Callable[[Answer], bool], since: float, *, quiet: int = 300, timeout: float = 60.0
    ) -> Answer:
        """The first proper answer from `since` on after which none was unwanted, for `quiet` proper answers.

        Counting answers, not seconds, keeps the finding honest when the machine is busy. TimeoutError where
        unwanted ones go on coming.
        """
        async with asyncio.timeout(timeout):
            while True:
                proper = [answer for answer in self.since(since) if not answer.failed]
                found = 0
                for number, answer in enumerate(proper, start=1):
                    if unwanted(answer):
                        found = number
                if len(proper) - found >= quiet:
                    return proper[found]
                await self._arrived.wait()

    async def sample(self, count: int, *, timeout: float = 60.0) -> dict[str, int]:
        """The next `count` proper answers from now on, counted by who gave them, sorted by name."""
        now = time.monotonic()
        async with asyncio.timeout(timeout):
            while True:
                proper = [answer.who for answer in self.since(now) if not answer.failed]
                if len(proper) >= count:
                    return dict(sorted(Counter(proper[:count]).items()))
                await self._arrived.wait()


def read_answer(line: bytes) -> Answer:
    """One line of the prober."""
    body = json.loads(line)
    return Answer(body["at"], body.get("who", ""), body.get("failed", ""))


@asynccontextmanager
async def running_prober(enter: Entrance) -> AsyncGenerator[Observed]:
    """Run the prober until the block ends. UserError where it ends by itself."""
    observed = Observed()
    process = await asyncio.create_subprocess_exec(
        *enter.argv,
        env=enter.env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LARGEST_LINE,
    )
    try:
        async with task_scope() as scope:
            scope.serve(_read(process, observed), name="prober")
            yield observed
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _read(process: asyncio.subprocess.Process, observed: Observed) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    while line := await process.stdout.readline():
        observed.add(read_answer(line))
    words = (await process.stderr.read()).decode(errors="replace").strip()
    raise UserError(f"The prober in the client pod ended: {words or 'it said nothing'}.")
