"""Serving a watch: the first lines, then batches of shared lines as changes come, and bookmarks between them.

Source: Kubernetes "API concepts", efficient detection of changes, watch bookmarks, streaming lists.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from aiohttp import web

from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.errors import expired
from isthmus.lab.apiserver.objects import Object, encode
from isthmus.lab.apiserver.options import check_watch_options, streams_initial_events
from isthmus.lab.apiserver.reading import list_page
from isthmus.lab.apiserver.requests import flag, number, resource_version
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.selectors import predicate
from isthmus.lab.apiserver.watch import Event, Feed, bookmark, line_of

_SHORTEST_DEFAULT = 1800


@dataclass(frozen=True, slots=True)
class WatchForm:
    """How objects are shown to one watcher, where not as they are; `show` makes the object of a line."""

    show: Callable[[Object], Object]

    def line(self, type_: str, event: Event) -> bytes:
        """The line of one event in this form."""
        return line_of(type_, encode(self.show(event.object(type_))))


@dataclass(frozen=True, slots=True)
class _Opened:
    """A watch that has been granted: its feed, the lines that come first, and how it goes on."""

    feed: Feed
    first: list[bytes]
    bookmarks: bool
    seconds: float


async def serve_watch(
    cluster: Cluster, request: web.Request, resource: Resource, namespace: str, form: WatchForm | None
) -> web.StreamResponse:
    """Answer a watch until its time is over, its reader goes or falls too far behind, or the server stops."""
    query = dict(request.query)
    opened = _open(cluster, resource, namespace, query, form)
    response = web.StreamResponse(
        headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
    )
    try:
        await response.prepare(request)
        await response.write(b"".join(opened.first))
        await _stream(cluster, resource, opened, response, form)
    except (ConnectionResetError, ConnectionAbortedError):
        pass
    finally:
        cluster.watches.forget(resource, opened.feed)
    return response


def _open(
    cluster: Cluster, resource: Resource, namespace: str, query: dict[str, str], form: WatchForm | None
) -> _Opened:
    chosen = predicate(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    bookmarks = flag(query, "allowWatchBookmarks")
    seconds = number(query, "timeoutSeconds") or _SHORTEST_DEFAULT * random.uniform(1, 2)
    since = resource_version(query)
    streamed = streams_initial_events(query)
    check_watch_options(query)
    store = cluster.store
    if since and not streamed:
        if since > store.revision:
            since = store.revision
        if not store.remembers(resource, since):
            return _expired(since, store.revision)
        return _Opened(cluster.watches.open(resource, namespace, chosen, after=since), [], bookmarks, seconds)
    first: list[bytes] = []
    if streamed:
        page = list_page(cluster, resource, namespace, _selectors_only(query))
        first = [
            line_of("ADDED", encode(form.show(one.object)) if form else one.encoded) for one in page.found
        ]
    if streamed and bookmarks:
        show = form.show if form is not None else None
        first.append(bookmark(resource, store.revision, initial_end=True, show=show))
    return _Opened(cluster.watches.open(resource, namespace, chosen, after=None), first, bookmarks, seconds)


def _expired(since: int, current: int) -> _Opened:
    """A watch that only says that its version is forgotten: a granted watch tells errors as events."""
    feed = Feed("", None)
    feed.close()
    status = expired(f"too old resource version: {since} ({current})").status()
    return _Opened(feed, [line_of("ERROR", encode(status))], bookmarks=False, seconds=0)


def _selectors_only(query: dict[str, str]) -> dict[str, str]:
    return {name: query[name] for name in ("labelSelector", "fieldSelector") if name in query}


async def _stream(
    cluster: Cluster,
    resource: Resource,
    opened: _Opened,
    response: web.StreamResponse,
    form: WatchForm | None,
) -> None:
    show = form.show if form is not None else None
    ends = monotonic() + opened.seconds
    interval = cluster.settings.bookmark_seconds
    marks_at = monotonic() + interval
    while (left := ends - monotonic()) > 0:
        batch = await opened.feed.next_batch(max(0.0, min(left, marks_at - monotonic())))
        if batch is None:
            return
        if batch:
            await response.write(_lines(batch, form))
        if monotonic() >= marks_at:
            marks_at = monotonic() + interval
            if opened.bookmarks and not batch:
                await response.write(bookmark(resource, cluster.store.revision, show=show))
        await asyncio.sleep(0)
    if opened.bookmarks:
        await response.write(bookmark(resource, cluster.store.revision, show=show))


def _lines(batch: Iterable[tuple[str, Event]], form: WatchForm | None) -> bytes:
    if form is None:
        return b"".join(event.line(type_) for type_, event in batch)
    return b"".join(form.line(type_, event) for type_, event in batch)
