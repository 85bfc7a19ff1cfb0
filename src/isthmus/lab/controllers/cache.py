"""Every object of the cluster as last seen: one watch a kind, shared by all controllers."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager

from isthmus.kube.client import Client
from isthmus.kube.kinds import Kind
from isthmus.kube.watch import Event, Removed, Synced, Upserted, watch_kind
from isthmus.lab.controllers.discovery import discover
from isthmus.lab.controllers.objects import Key, Object, key_of
from isthmus.lib.lifecycle import task_scope

Resource = tuple[str, str]
"""A kind by its API group and plural, e.g. ("apps", "deployments")."""


Listener = Callable[[Object | None, Object | None], None]
"""Called for each change with the object before and after; None where there is none."""


class Cache:
    """The objects of one kind. Fed by its watch only, so a reader's own writes appear when they come back."""

    def __init__(self, kind: "Kind[Object]") -> None:
        self.kind = kind
        self._objects: dict[Key, Object] = {}
        self._listeners: list[Listener] = []
        self._changed = asyncio.Event()
        self._synced = asyncio.Event()

    def deliver(self, event: "Event[Object]") -> None:
        """Take in one event of the watch."""
        match event:
            case Synced():
                self._synced.set()
            case Upserted(new):
                old = self._objects.get(key_of(new))
                self._objects[key_of(new)] = new
                self._tell(old, new)
            case Removed(gone):
                self._tell(self._objects.pop(key_of(gone), gone), None)

    def _tell(self, old: Object | None, new: Object | None) -> None:
        for listener in self._listeners:
            listener(old, new)
        self._changed.set()
        self._changed = asyncio.Event()

    def listen(self, listener: Listener) -> None:
        """Hear of every later change, and now of all that is there."""
        self._listeners.append(listener)
        for item in self._objects.values():
            listener(None, item)

    def get(self, key: Key) -> Object | None:
        """The object of that name, or None."""
        return self._objects.get(key)

    def within(self, namespace: str) -> Iterator[Object]:
        """All objects of a namespace."""
        return (item for key, item in self._objects.items() if key.namespace == namespace)

    def __iter__(self) -> Iterator[Object]:
        return iter(tuple(self._objects.values()))

    async def synced(self) -> None:
        """Wait for the first complete list."""
        await self._synced.wait()

    async def until(self, condition: Callable[[], bool], *, timeout: float = 5.0) -> None:
        """Wait until the cache shows it; TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            while not condition():
                await self._changed.wait()


class Caches:
    """All caches of a cluster, by resource."""

    def __init__(self, kinds: "list[Kind[Object]]") -> None:
        self._caches = {(kind.group, kind.plural): Cache(kind) for kind in kinds}

    def __getitem__(self, resource: Resource) -> Cache:
        return self._caches[resource]

    def __iter__(self) -> Iterator[Cache]:
        return iter(self._caches.values())

    def of_reference(self, reference: Object) -> Cache | None:
        """The cache that would hold what an owner reference names."""
        group = reference["apiVersion"].rpartition("/")[0]
        for cache in self._caches.values():
            if cache.kind.group == group and cache.kind.kind == reference["kind"]:
                return cache
        return None


@asynccontextmanager
async def running_caches(client: Client) -> AsyncGenerator[Caches]:
    """Watch every kind that can be owned or own (so no Events); ready when all are listed."""
    caches = Caches([kind for kind in await discover(client) if kind.kind != "Event"])
    async with task_scope() as scope:
        for cache in caches:
            scope.serve(watch_kind(client, cache.kind, cache.deliver), name=f"watch {cache.kind.plural}")
        for cache in caches:
            await cache.synced()
        yield caches
