"""Random schedules of what an API server can do to a list and a watch, in virtual time, against a model.

The model is the server's objects, by name: when all is mended, whoever followed holds them, within the
promised time and whatever happened before. A failing seed is noted on the error, and repeats.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from isthmus.kube.decoding import Page, decode_page
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.following import Event, Phase, WatchState, follow
from isthmus.kube.kinds import CONFIG_MAP
from isthmus.kube.objects import ConfigMap
from isthmus.kube.reflector import Removed, Upserted
from isthmus.lib.lifecycle import task_scope
from tests.support.virtual_time import run_in_virtual_time

SCHEDULES, BATCHES, STEPS = 1000, 10, 12
PROMISED = 270.0
"""Seconds: a watch that is silent for 75 to 83 is probed and reopened, the next one replaced by a list; and a
watch that ends in good order just before begins that anew."""
NAMES = ("a", "b", "c", "d")
PAGE = 2
BROKEN = (
    Unreachable("connection refused"),
    Unreachable("it did not answer within 10 s"),
    ApiError(401, "Unauthorized", ""),
    ApiError(403, "Forbidden", ""),
    ApiError(429, "TooManyRequests", "", retry_after=5),
    ApiError(500, "InternalError", ""),
)
Held = dict[str, str]


class Server:
    """Objects with a history, and the ways in which their telling goes wrong."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.version = 1000
        self.objects: Held = {}
        self.failure: Exception | None = None
        self.cuts = False
        self.stalls = False
        self._compacted = 0
        self.sends_bookmarks = random.random() < 0.8
        self._backup: tuple[int, Held] | None = None
        self._history: list[tuple[int, bytes]] = []
        self._news = asyncio.Event()
        self._generation = 0

    # What happens to it

    def change(self) -> None:
        name = self.random.choice(NAMES)
        gone = name in self.objects and self.random.random() < 0.3
        change = "DELETED" if gone else "MODIFIED" if name in self.objects else "ADDED"
        self.version += self.random.choice((1, 1, 5))
        if gone:
            value = self.objects.pop(name)
        else:
            value = self.objects[name] = str(self.version)
        self._history.append((self.version, _line(change, name, value, self.version)))
        self._wake()

    def elsewhere(self) -> None:
        """Another kind of the cluster has changed."""
        self.version += 1

    def breaks(self) -> None:
        self.failure = self.random.choice(BROKEN)
        self.sever()

    def cut(self) -> None:
        self.cuts = True

    def stall(self) -> None:
        self.stalls = True
        self._wake()

    def forget(self) -> None:
        """Its history is compacted: nothing can be resumed."""
        self._history.clear()
        self._compacted = self.version
        self.sever()

    def back_up(self) -> None:
        self._backup = self.version, dict(self.objects)

    async def restore(self) -> None:
        """etcd's data are put back: the API server is away for long, or comes back at once and is left alone.

        Versions that have overtaken the old ones by the time that anybody looks cannot be told from them.
        """
        if self._backup is None:
            return
        self.failure = BROKEN[0]
        self.sever()
        quick = self.random.random() < 0.5
        await asyncio.sleep(2 if quick else 150)
        self.version, objects = self._backup
        self.objects = dict(objects)
        self._history.clear()
        self._compacted = self.version
        self.failure = None
        if quick:
            await asyncio.sleep(40)

    def sever(self) -> None:
        """Watches break."""
        self._generation += 1
        self._wake()

    def mend(self) -> None:
        self.failure, self.cuts, self.stalls = None, False, False
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # What it answers

    async def page(self, continue_: str) -> Page[ConfigMap]:
        await self._answer()
        begin = int(continue_ or 0)
        if self.cuts and self.random.random() < 0.7:
            raise Unreachable("its answer broke off or cannot be unpacked")
        names = sorted(self.objects)
        items = [_object(name, self.objects[name], self.version) for name in names[begin : begin + PAGE]]
        metadata = {"resourceVersion": str(self.version)}
        if begin + PAGE < len(names):
            metadata["continue"] = str(begin + PAGE)
        return decode_page(CONFIG_MAP, json.dumps({"items": items, "metadata": metadata}).encode())

    async def probe(self) -> str:
        await self._answer()
        return str(self.version)

    async def _answer(self) -> None:
        await asyncio.sleep(0.01)
        if self.failure is not None:
            raise self.failure

    @asynccontextmanager
    async def watching(self, resource_version: str, seconds: int) -> AsyncGenerator[AsyncIterator[bytes]]:
        await self._answer()
        yield self._lines(int(resource_version), asyncio.get_running_loop().time() + seconds)

    async def _lines(self, since: int, end: float) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        generation, mark = self._generation, clock() + 60
        if since < self._compacted:
            status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            yield json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
            return
        while clock() < end:
            if self._generation != generation:
                raise Unreachable("the connection broke")
            if not self.stalls:
                for version, line in [each for each in self._history if each[0] > since]:
                    since = version
                    if self.cuts:
                        yield line[: len(line) // 2]
                        raise Unreachable("its answer broke off or cannot be unpacked")
                    yield line
                if self.sends_bookmarks and clock() >= mark:
                    since = max(since, self.version)
                    yield _line("BOOKMARK", "", "", self.version)
            mark = max(mark, clock() + 0.1) if clock() < mark else clock() + 60
            try:
                async with asyncio.timeout_at(min(mark, end)):
                    await self._news.wait()
            except TimeoutError:
                continue


def _object(name: str, value: str, version: int) -> dict[str, object]:
    meta = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": meta, "data": {"v": value}}


def _line(change: str, name: str, value: str, version: int) -> bytes:
    return json.dumps({"type": change, "object": _object(name, value, version)}).encode() + b"\n"


async def play(seed: int) -> None:
    random = Random(seed)
    server = Server(random)
    held: Held = {}
    states: list[WatchState] = []

    def deliver(event: Event[ConfigMap]) -> None:
        match event:
            case Upserted(item):
                held[item.metadata.name] = item.data["v"]
            case Removed(item):
                held.pop(item.metadata.name, None)
            case _:
                assert held == server.objects, "what was synced is not what there is"

    happenings: list[Callable[[], object]] = [
        *(server.change, server.change, server.change, server.elsewhere),
        *(server.breaks, server.cut, server.stall, server.forget, server.sever),
        *(server.back_up, server.restore, server.mend),
    ]
    async with task_scope() as scope:
        work = follow(server, CONFIG_MAP, deliver, report=states.append, random=Random(seed))
        scope.serve(work, name="follow")
        for _ in range(STEPS):
            happening = random.choice(happenings)()
            if asyncio.iscoroutine(happening):
                await happening
            await asyncio.sleep(random.choice((0.0, 0.05, 1.0, 20.0, 100.0)))
        server.mend()
        server.change()
        await asyncio.sleep(PROMISED)
        assert held == server.objects
        assert states[-1].phase is Phase.SYNCED
        if server.sends_bookmarks:
            server.stall()  # and never again anything else: lists must do
        server.change()
        await asyncio.sleep(PROMISED)
        assert held == server.objects


@pytest.mark.parametrize("batch", range(BATCHES))
def test_after_any_schedule_of_faults_whoever_followed_holds_what_there_is(batch: int) -> None:
    for seed in range(batch, SCHEDULES, BATCHES):
        try:
            run_in_virtual_time(play(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
