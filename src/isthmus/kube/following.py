"""The loop that moves bytes between one collection of an API server and its reflector, and never gives up.

Everything that decides is in `reflector` and `patience`. A line is delivered as its bytes are read: nothing
is queued, no task is made for it, and nothing polls.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Generic, NoReturn, Protocol, TypeAlias, TypeVar

import structlog

from isthmus.kube.decoding import Page, Rejected
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import Kind
from isthmus.kube.patience import Recovery, Silence, Step
from isthmus.kube.reflector import LineBuffer, Outdated, Reflector, Removed, Synced, Upserted, is_older
from isthmus.lib.lifecycle import task_scope

T = TypeVar("T")
Event: TypeAlias = Upserted[T] | Removed[T] | Synced
MOST_LINE = 16 << 20
_WATCH_SECONDS = (300, 600)
_OVERTIME = 30.0
"""Seconds that a server may take longer than asked to end a watch."""
_GRACE = 5.0
"""Seconds in which a watch delivers what a probe saw, and a reopened one what the last one missed."""
_LASTING = 1.0
"""Seconds after which a watch counts as having worked, whatever it delivered."""

log = structlog.get_logger()


class Phase(Enum):
    """Where a watch stands. FAILED still holds what was delivered before; it tries again by itself."""

    LISTING = "listing"
    SYNCED = "synced"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class WatchState:
    """Reported as the phase or the rejected objects change. Times are Unix seconds.

    `since`: when this phase began. `current_at`: when the objects were last known to be up to date, 0.0 for
    never. `error` and `retry_in` (seconds) are set in FAILED.
    """

    phase: Phase
    since: float
    current_at: float = 0.0
    error: ApiError | Unreachable | None = None
    retry_in: float = 0.0
    rejected: tuple[Rejected, ...] = ()


class Source(Protocol[T]):
    """What is listed and watched. Everything in it raises ApiError and Unreachable."""

    async def page(self, continue_: str) -> Page[T]:
        """The page of a list that a former page's `continue_` names, "" for the first."""
        ...

    def watching(
        self, resource_version: str, seconds: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of one watch, which the server is asked to end after `seconds`."""
        ...

    async def probe(self) -> str:
        """The server's present resource version, cheaply."""
        ...


async def follow(
    source: Source[T],
    kind: Kind[T],
    deliver: Callable[[Event[T]], None],
    *,
    report: Callable[[WatchState], None] | None = None,
    random: Random | None = None,
) -> NoReturn:
    """`watch_kind` over any source."""
    following = _Following(source, kind, Reflector(kind, deliver), report, random or Random())
    await following.run()


class _Reopen(Exception):  # noqa: N818 - a finding, not a failure
    """The watch is to be closed and resumed. `suspicious`: the server has news which it did not deliver."""

    def __init__(self, *, suspicious: bool) -> None:
        super().__init__()
        self.suspicious = suspicious


@dataclass(slots=True)
class _Following(Generic[T]):
    """The state of one task, which alone changes it."""

    source: Source[T]
    kind: Kind[T]
    reflector: Reflector[T]
    report: Callable[[WatchState], None] | None
    random: Random
    recovery: Recovery = field(default_factory=Recovery)
    silence: Silence = field(default_factory=Silence)
    heard: float | None = None
    """Loop time at which the objects were last known to be up to date."""
    told: tuple[Phase, int] | None = None
    failed: bool = False
    """Whether the latest attempt failed: a watch is then resumed only where the server has not gone back."""

    async def run(self) -> NoReturn:
        while True:
            step = await self._attempt()
            if step.relist:
                self.reflector.resource_version = ""
            if step.delay:
                await asyncio.sleep(step.delay)

    async def _attempt(self) -> Step:
        """List where needed, then watch until that ends; what to do next."""
        try:
            if not self.reflector.resource_version:
                await self._list()
            elif self.failed:
                self._compare(await self._probe())
            self.failed = False
            lasted = await self._watch()
        except _Reopen as reopen:
            relist = reopen.suspicious and self.silence.reopened_on_suspicion()
            if reopen.suspicious:
                log.info("silent watch reopened", kind=self.kind.kind, relist=relist)
            return Step(relist=relist, delay=0.0)
        except Outdated as reason:
            return self._begin_anew(Unreachable(str(reason)))
        except ApiError as error:
            return self._begin_anew(error) if error.status == 410 else self._fail(error)
        except Unreachable as error:
            return self._fail(error)
        return self.recovery.after_end(lasted=lasted)

    def _begin_anew(self, reason: ApiError | Unreachable) -> Step:
        """A new list is needed: the way of the world once, a failure when it comes again and again."""
        step = self.recovery.after_outdated()
        log.info("watch outdated", kind=self.kind.kind, reason=str(reason), relist_in=round(step.delay, 1))
        if step.delay:
            self._tell(Phase.FAILED, reason, step.delay)
        return step

    def _fail(self, error: ApiError | Unreachable) -> Step:
        step, self.failed = self.recovery.after_error(error), True
        log.warning("watch failed", kind=self.kind.kind, error=str(error), retry_in=round(step.delay, 1))
        self._tell(Phase.FAILED, error, step.delay)
        return step

    async def _list(self) -> None:
        self._tell(Phase.LISTING)
        self.reflector.begin_list()
        page = await self.source.page("")
        await self._take(page)
        while page.continue_:
            page = await self.source.page(page.continue_)
            await self._take(page)
        self.reflector.end_list(page.resource_version)
        self.heard = asyncio.get_running_loop().time()
        self._tell(Phase.SYNCED)

    async def _take(self, page: Page[T]) -> None:
        for batch in page.batches():
            self.reflector.take_batch(batch)
            await asyncio.sleep(0)

    async def _watch(self) -> bool:
        """One watch to its end; whether it lasted."""
        clock = asyncio.get_running_loop().time
        seconds = self.random.randint(*_WATCH_SECONDS)
        async with self.source.watching(self.reflector.resource_version, seconds) as chunks:
            opened = self.heard = clock()
            try:
                async with task_scope() as scope:
                    if self.told is not None and self.told[0] is Phase.FAILED:
                        scope.spawn(self._vouch(), name="call a watch good again")
                    else:
                        self._tell(Phase.SYNCED)
                    scope.serve(self._doubt(opened + seconds + _OVERTIME), name="doubt a silent watch")
                    await self._read(chunks, opened)
            except ExceptionGroup as errors:
                # Reading and doubting failed in one moment. Either tells what to do.
                expected, other = errors.split((_Reopen, Outdated, ApiError, Unreachable))
                if expected is None or other is not None:
                    raise
                raise expected.exceptions[0] from None
            finally:
                lasted = clock() - opened >= _LASTING
                if lasted:
                    self.recovery.went_well()
        return lasted

    async def _vouch(self) -> None:
        """Call the watch good again when it lasts: what opens and breaks is no better than before."""
        await asyncio.sleep(_LASTING)
        self._tell(Phase.SYNCED)

    async def _read(self, chunks: AsyncIterator[bytes], opened: float) -> None:
        clock = asyncio.get_running_loop().time
        lines = LineBuffer(MOST_LINE)
        reflector = self.reflector
        async for chunk in chunks:
            self.heard = clock()
            for line in lines.feed(chunk):
                if reflector.take_line(line) == "BOOKMARK":
                    self.silence.bookmark_came()
                else:
                    self.silence.change_came(soon=self.heard - opened < _GRACE)
                self._tell(Phase.SYNCED)
        if lines.is_amid_a_line:
            raise Unreachable("its watch broke off in the middle of a line")

    async def _doubt(self, deadline: float) -> NoReturn:
        """Probe the server when the watch has been silent for too long. Raises _Reopen, or as probes do."""
        clock = asyncio.get_running_loop().time
        while True:
            heard = self.heard
            assert heard is not None, "it was set as the watch opened"
            due = min(deadline, heard + self.silence.patience * self.random.uniform(1.0, 1.1))
            await asyncio.sleep(due - clock())
            if clock() >= deadline:
                raise _Reopen(suspicious=False)
            if self.heard != heard:
                continue
            has, had = await self._probe(), self.reflector.resource_version
            self._compare(has)
            if has != had and self.heard == heard:
                await asyncio.sleep(_GRACE)
                if self.heard == heard:
                    raise _Reopen(suspicious=True)
            self.silence.probe_found_nothing()
            self.heard = clock()

    def _compare(self, has: str) -> None:
        """Raise Outdated where the server's version is older than ours: its data were put back."""
        had = self.reflector.resource_version
        if is_older(has, had):
            raise Outdated(f"the server went back from {had} to {has}")

    async def _probe(self) -> str:
        """The server's version; the one that we have where it has no time for such questions (429)."""
        try:
            return await self.source.probe()
        except ApiError as error:
            if error.status != 429:
                raise
            return self.reflector.resource_version

    def _tell(self, phase: Phase, error: ApiError | Unreachable | None = None, retry_in: float = 0.0) -> None:
        """Report, unless nothing changed since the last report; a failure is always news."""
        news = (phase, self.reflector.rejections)
        if news == self.told and error is None:
            return
        rejected = tuple(self.reflector.rejected.values())
        if rejected and (self.told is None or self.told[1] != news[1]):
            log.warning(
                "objects rejected",
                kind=self.kind.kind,
                count=len(rejected),
                latest=str(rejected[-1].ref),
                reason=rejected[-1].reason,
            )
        self.told = news
        if self.report is not None:
            now = time.time()
            silent = 0.0 if self.heard is None else asyncio.get_running_loop().time() - self.heard
            current_at = 0.0 if self.heard is None else now - silent
            self.report(WatchState(phase, now, current_at, error, retry_in, rejected))
