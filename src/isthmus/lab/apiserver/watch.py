"""Watches: who wants which changes, and the lines that they get. Each line is encoded once and shared.

A watcher that does not read is closed when its queue is full, and resumes by itself: it delays nobody.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from isthmus.lab.apiserver.objects import Object, encode
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.selectors import Predicate
from isthmus.lab.apiserver.store import Change, Store, Stored, encode_object

QUEUE = 10_000
"""Lines that wait for one watcher before it is closed."""


@dataclass(slots=True)
class Event:
    """One change as the watchers of a kind see it; `added`, `modified` and `deleted` are shared bytes."""

    change: Change
    _lines: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def line(self, type_: str) -> bytes:
        """The line for a watcher to whom the change is of that type (ADDED, MODIFIED, DELETED)."""
        found = self._lines.get(type_)
        if found is None:
            found = self._lines[type_] = line_of(type_, self.encoded(type_))
        return found

    def object(self, type_: str) -> Object:
        """The object of that line: for DELETED the last known one, with the deletion's resourceVersion."""
        if type_ != "DELETED":
            assert self.change.new is not None
            return self.change.new.object
        assert self.change.old is not None
        last = self.change.old.object
        meta = {**last["metadata"], "resourceVersion": str(self.change.revision)}
        return {**last, "metadata": meta}

    def encoded(self, type_: str) -> bytes:
        """The JSON of `object(type_)`."""
        if type_ != "DELETED":
            assert self.change.new is not None
            return self.change.new.encoded
        return encode_object(self.change.resource, self.object(type_))


def line_of(type_: str, encoded: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%s","object":%s}\n' % (type_.encode(), encoded)


def bookmark(
    resource: Resource,
    revision: int,
    *,
    initial_end: bool = False,
    show: Callable[[Object], Object] | None = None,
) -> bytes:
    """The line that says: everything up to that revision has been sent. `show` gives its object's form."""
    meta: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    object_: Object = {"kind": resource.kind, "apiVersion": resource.group_version, "metadata": meta}
    return line_of("BOOKMARK", encode(show(object_) if show is not None else object_))


class Feed:
    """The changes that one watcher is due. Ask `next_batch`; None means that it is over."""

    def __init__(self, namespace: str, chosen: Predicate | None) -> None:
        self._namespace = namespace
        self._chosen = chosen
        self._due: deque[tuple[str, Event]] = deque()
        self._wake = asyncio.Event()
        self._over = False

    def offer(self, event: Event) -> None:
        """Queue the change if it concerns this watcher, as the type that it is to it."""
        type_ = self._type(event.change)
        if type_ is None or self._over:
            return
        if len(self._due) >= QUEUE:
            self.close()
            return
        self._due.append((type_, event))
        self._wake.set()

    def close(self) -> None:
        """End the watch; what waits is dropped."""
        self._over = True
        self._due.clear()
        self._wake.set()

    async def next_batch(self, timeout: float) -> list[tuple[str, Event]] | None:
        """Everything due, at least one; an empty list after `timeout` seconds without any; None: over."""
        if not self._due and not self._over:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return []
        if self._over:
            return None
        batch = list(self._due)
        self._due.clear()
        return batch

    def _type(self, change: Change) -> str | None:
        if self._namespace and change.key.namespace != self._namespace:
            return None
        before, after = self._wants(change.old), self._wants(change.new)
        if after:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else None

    def _wants(self, stored: Stored | None) -> bool:
        return stored is not None and (self._chosen is None or self._chosen(stored.object))


class Watches:
    """All open watches of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._feeds: dict[tuple[str, str], set[Feed]] = {}
        store.listen(self._changed)

    def open(
        self, resource: Resource, namespace: str, chosen: Predicate | None, *, after: int | None
    ) -> Feed:
        """A feed of the changes after a revision that the store remembers; None: from now on."""
        feed = Feed(namespace, chosen)
        if after is not None:
            for change in self._store.changes_after(resource, after):
                feed.offer(Event(change))
        self._feeds.setdefault(resource.place, set()).add(feed)
        return feed

    def forget(self, resource: Resource, feed: Feed) -> None:
        """The watcher has gone."""
        self._feeds.get(resource.place, set()).discard(feed)

    def end(self, resource: Resource) -> None:
        """End every watch of a kind: it is no longer served."""
        for feed in self._feeds.get(resource.place, ()):
            feed.close()

    def close(self) -> None:
        """End every watch: the server is stopping."""
        for feeds in self._feeds.values():
            for feed in feeds:
                feed.close()

    def _changed(self, change: Change) -> None:
        event = Event(change)
        for feed in self._feeds.get(change.resource.place, ()):
            feed.offer(event)
