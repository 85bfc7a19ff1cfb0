"""Every object of the cluster as last seen: one watch a kind, shared by all controllers."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import NoReturn

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import Kind
from isthmus.kube.watch import Event, Removed, Synced, Upserted, watch_kind
from isthmus.lab.controllers.discovery import discover
from isthmus.lab.controllers.objects import Key, Object, entries, is_terminating, key_of
from isthmus.lib.lifecycle import TaskScope, task_scope

_RETRY = 0.5
"""Seconds until discovery is asked again that does not yet name what is defined."""

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
    """All caches of a cluster, by resource; those of custom kinds come and go."""

    def __init__(self, kinds: "Iterable[Kind[Object]]") -> None:
        self._caches: dict[Resource, Cache] = {}
        self._followers: list[Callable[[Cache], None]] = []
        for kind in kinds:
            self.add(kind)

    def __getitem__(self, resource: Resource) -> Cache:
        return self._caches[resource]

    def __iter__(self) -> Iterator[Cache]:
        return iter(self._caches.values())

    def __contains__(self, resource: Resource) -> bool:
        return resource in self._caches

    def add(self, kind: "Kind[Object]") -> Cache:
        """A cache of one more kind, which whoever feeds it has still to fill."""
        cache = self._caches[kind.group, kind.plural] = Cache(kind)
        for follower in self._followers:
            follower(cache)
        return cache

    def drop(self, resource: Resource) -> None:
        """The kind is no longer served: all of its objects have gone."""
        cache = self._caches.pop(resource)
        for item in cache:
            cache.deliver(Removed(item))

    def follow(self, follower: Callable[[Cache], None]) -> None:
        """Have every cache shown, those there are now and each that is added."""
        self._followers.append(follower)
        for cache in self:
            follower(cache)

    def of_reference(self, reference: Object) -> Cache | None:
        """The cache that would hold what an owner reference names."""
        group = reference["apiVersion"].rpartition("/")[0]
        for cache in self._caches.values():
            if cache.kind.group == group and cache.kind.kind == reference["kind"]:
                return cache
        return None


@asynccontextmanager
async def running_caches(client: Client) -> AsyncGenerator[Caches]:
    """Watch every kind that can be owned or own (so no Events); ready when all are listed.

    Kinds that are defined later are watched from then on.
    """
    caches = Caches(await _owning_kinds(client))
    async with task_scope() as scope:
        watches = {resource_of(cache.kind): _watch(client, cache, scope) for cache in caches}
        for cache in caches:
            await cache.synced()
        scope.serve(_keep_up(client, caches, watches, scope), name="custom kinds")
        yield caches


def resource_of(kind: "Kind[Object]") -> Resource:
    """Under which name a kind's cache is found."""
    return kind.group, kind.plural


async def _owning_kinds(client: Client) -> "list[Kind[Object]]":
    return [kind for kind in await discover(client) if kind.kind != "Event"]


def _watch(client: Client, cache: Cache, scope: TaskScope) -> "asyncio.Task[None]":
    return scope.serve(watch_kind(client, cache.kind, cache.deliver), name=f"watch {cache.kind.plural}")


async def _keep_up(
    client: Client, caches: Caches, watches: "dict[Resource, asyncio.Task[None]]", scope: TaskScope
) -> NoReturn:
    """Begin to watch what is defined, and leave off what is not served any more."""
    changed = asyncio.Event()
    definitions = caches["apiextensions.k8s.io", "customresourcedefinitions"]
    definitions.listen(lambda _old, _new: changed.set())
    while True:
        await changed.wait()
        changed.clear()
        try:
            served = {resource_of(kind): kind for kind in await _owning_kinds(client)}
        except (ApiError, Unreachable):
            served = None
        if served is None or any(one not in served for one in _established(definitions)):
            await asyncio.sleep(_RETRY)  # discovery lags behind definitions
            changed.set()
            continue
        for gone in watches.keys() - served.keys():
            watches.pop(gone).cancel()
            caches.drop(gone)
        for new in served.keys() - watches.keys():
            watches[new] = _watch(client, caches.add(served[new]), scope)


def _established(definitions: Cache) -> Iterator[Resource]:
    """The custom kinds that discovery must name."""
    for definition in definitions:
        conditions = {each["type"]: each["status"] for each in entries(definition, "status", "conditions")}
        served = any(version["served"] for version in entries(definition, "spec", "versions"))
        if conditions.get("Established") == "True" and served and not is_terminating(definition):
            yield definition["spec"]["group"], definition["spec"]["names"]["plural"]
