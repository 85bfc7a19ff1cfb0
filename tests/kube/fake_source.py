"""A collection of an API server without sockets, for `following` in virtual time."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from isthmus.kube.decoding import Page, decode_page
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import CONFIG_MAP
from isthmus.kube.objects import ConfigMap


def line(change: str, name: str, version: int, value: str = "") -> bytes:
    """One watch event."""
    meta = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return json.dumps({"type": change, "object": {"metadata": meta, "data": {"v": value}}}).encode() + b"\n"


class FakeSource:
    """ConfigMaps by name. `bookmarks` is the seconds between two, None for a server that sends none.

    What a test sets is in force at once: `stuck` watches deliver nothing, `failure` meets every request,
    `lasts` is the seconds after which watches end, whatever was asked for, `always` what each begins with.
    """

    def __init__(self, *, bookmarks: float | None = 60.0) -> None:
        self.bookmarks = bookmarks
        self.version = 100
        self.stuck = False
        self.failure: ApiError | Unreachable | None = None
        self.lasts: float | None = None
        self.always = b""
        self.lists: list[float] = []
        self.opened: list[float] = []
        self.probes: list[float] = []
        self._objects: dict[str, tuple[int, str]] = {}
        self._history: list[tuple[int, bytes]] = []
        self._news = asyncio.Event()

    def put(self, name: str, value: str = "") -> None:
        """Create or change an object."""
        self.version += 1
        change = "MODIFIED" if name in self._objects else "ADDED"
        self._objects[name] = (self.version, value)
        self._say(line(change, name, self.version, value))

    def say(self, raw: bytes) -> None:
        """Have the watches send these very bytes."""
        self._say(raw)

    def elsewhere(self) -> None:
        """Something else in the cluster changed."""
        self.version += 1

    def restore(self, version: int) -> None:
        """The cluster's data go back to that version, with the objects of then."""
        self._objects = {name: each for name, each in self._objects.items() if each[0] <= version}
        self._history.clear()
        self.version = version

    def _say(self, raw: bytes) -> None:
        self._history.append((self.version, raw))
        self._news.set()
        self._news = asyncio.Event()

    async def page(self, continue_: str) -> Page[ConfigMap]:
        """Everything on one page."""
        self.lists.append(asyncio.get_running_loop().time())
        if self.failure:
            raise self.failure
        items = [
            json.loads(line("", name, version, value))["object"]
            for name, (version, value) in self._objects.items()
        ]
        body = {"items": items, "metadata": {"resourceVersion": str(self.version)}}
        return decode_page(CONFIG_MAP, json.dumps(body).encode())

    async def probe(self) -> str:
        """The present version."""
        self.probes.append(asyncio.get_running_loop().time())
        if self.failure:
            raise self.failure
        return str(self.version)

    @asynccontextmanager
    async def watching(self, resource_version: str, seconds: int) -> AsyncGenerator[AsyncIterator[bytes]]:
        """A watch; one that was opened while `stuck` stays so."""
        now = asyncio.get_running_loop().time()
        self.opened.append(now)
        if self.failure:
            raise self.failure
        yield self._lines(
            int(resource_version), now + (seconds if self.lasts is None else self.lasts), self.stuck
        )

    async def _lines(self, since: int, end: float, stuck: bool) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        if self.always:
            yield self.always
        sent = next((i for i, each in enumerate(self._history) if each[0] > since), len(self._history))
        mark = clock() + self.bookmarks if self.bookmarks and not stuck else 1e9
        while clock() < end:
            while sent < len(self._history) and not stuck:
                yield self._history[sent][1]
                sent += 1
            try:
                async with asyncio.timeout_at(min(mark, end)):
                    await self._news.wait()
            except TimeoutError:
                if mark <= clock():
                    mark = clock() + (self.bookmarks or 1e9)
                    yield line("BOOKMARK", "", self.version)
