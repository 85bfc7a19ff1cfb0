"""Lists that rules want by URL: each fetched once for all rules that want it, and again at its interval.

What cannot be fetched or read changes nothing: the last good version stays, with its age as a metric.
Link-local addresses are not connected to, whatever name leads there: who may write a Policy has no business
with the node's credentials, which clouds serve at 169.254.169.254.
"""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import NoReturn, cast

import aiohttp
import structlog

from isthmus.lib.backoff import Backoff
from isthmus.lib.lifecycle import TaskScope, task_scope
from isthmus.policy.lists import Entries, EntryRefused, read_lines
from isthmus.policy.rules import ListSource

_log = structlog.get_logger(__name__)
MOST_BYTES = 4 * 1024 * 1024


class _FeedFailed(Exception):  # noqa: N818 - a finding
    """The list cannot be had now; the text says why."""


@dataclass(slots=True)
class Feed:
    """One list. Times are Unix seconds, 0.0 for never."""

    source: ListSource
    entries: Entries | None = None
    read_at: float = 0.0
    error: str = ""
    tried: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    task: "asyncio.Task[None] | None" = field(default=None, repr=False)


class Feeds:
    """Made by `running_feeds` only."""

    def __init__(self, session: aiohttp.ClientSession, tasks: TaskScope) -> None:
        self._session = session
        self._tasks = tasks
        self._feeds: dict[ListSource, Feed] = {}

    def entries(self, source: ListSource) -> Entries | None:
        """The last good version, None before the first."""
        feed = self._feeds.get(source)
        return None if feed is None else feed.entries

    def status(self) -> Sequence[Feed]:
        """All lists that are wanted."""
        return list(self._feeds.values())

    def want(self, sources: Collection[ListSource]) -> None:
        """Fetch these and no others from now on."""
        for source in set(self._feeds) - set(sources):
            feed = self._feeds.pop(source)
            if feed.task is not None:
                feed.task.cancel()
        for source in set(sources) - set(self._feeds):
            feed = self._feeds[source] = Feed(source)
            feed.task = self._tasks.serve(self._follow(feed), name=f"list {source.url}")

    async def _follow(self, feed: Feed) -> NoReturn:
        backoff = Backoff(initial=1.0, cap=max(1.0, feed.source.refresh))
        while True:
            delay = feed.source.refresh
            try:
                async with asyncio.timeout(feed.source.timeout):
                    text = await self._fetch(feed.source.url)
                # Sixty thousand ranges take a while to read: not on the loop.
                feed.entries = await asyncio.to_thread(read_lines, feed.source.kind, text)
                feed.read_at, feed.error = time.time(), ""
                backoff.reset()
            except (aiohttp.ClientError, TimeoutError, _FeedFailed, EntryRefused) as error:
                feed.error = _reason(error, feed.source)
                delay = min(delay, backoff.next_delay())
                _log.warning(
                    "list cannot be read", url=feed.source.url, reason=feed.error, retry_in=round(delay, 1)
                )
            feed.tried.set()
            await asyncio.sleep(delay)

    async def _fetch(self, url: str) -> str:
        async with self._session.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise _FeedFailed(f"it answered {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > MOST_BYTES:
                    raise _FeedFailed(f"it has more than {MOST_BYTES} bytes")
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise _FeedFailed("it is no UTF-8") from None


def _reason(error: Exception, source: ListSource) -> str:
    match error:
        case TimeoutError():
            return f"it took longer than {source.timeout:g} s"
        case EntryRefused(index=index):
            return f"entry {index + 1}: {error}"
        case _:
            return str(error) or type(error).__name__


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:  # pyright: ignore[reportUnknownParameterType]
    """For one of the addresses that a list's host has. Raises OSError for one that is link-local."""
    family, kind, protocol = address[:3]
    found = ip_address(str(cast("tuple[object, ...]", address[4])[0]))
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    if (mapped or found).is_link_local:
        raise OSError(errno.EACCES, f"{found} is link-local, where no list is read from")
    return socket.socket(family, kind, protocol)


@asynccontextmanager
async def running_feeds() -> AsyncGenerator[Feeds]:
    """Fetch what is wanted until the block ends."""
    connector = aiohttp.TCPConnector(socket_factory=_socket)
    async with aiohttp.ClientSession(connector=connector) as session, task_scope() as tasks:
        yield Feeds(session, tasks)
