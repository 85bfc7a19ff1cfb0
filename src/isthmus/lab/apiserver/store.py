"""The cluster's objects in memory: versioned, each encoded once, with enough history to resume from.

One counter numbers every change of every kind, as etcd's revision does. Objects handed out are shared and
must not be changed. Nothing here waits: a caller that reads and commits without awaiting is atomic. It
knows no rule about the content of objects.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from isthmus.lab.apiserver.objects import Object, encode
from isthmus.lab.apiserver.resource import Resource

HISTORY = 4096
"""How many changes of one kind are remembered for those who resume a watch or a list."""


class Key(NamedTuple):
    """An object's place in its kind; the namespace is empty for objects of the whole cluster."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of an object. `encoded` is its JSON and begins with `prefix_of(resource.as_stored)`."""

    object: Object
    encoded: bytes
    revision: int

    def encoded_as(self, resource: Resource) -> bytes:
        """The JSON at one of the kind's versions."""
        return self.encoded if resource.as_stored is resource else encode_object(resource, self.object)


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit did: `new` is None for a deletion, `old` is None for a creation."""

    resource: Resource
    key: Key
    revision: int
    old: Stored | None
    new: Stored | None


def prefix_of(resource: Resource) -> bytes:
    """The bytes that every encoded object of a kind starts with, which items of a list leave out."""
    return encode({"kind": resource.kind, "apiVersion": resource.group_version})[:-1]


def encode_object(resource: Resource, object_: Object) -> bytes:
    """The object's JSON, with kind and apiVersion in front."""
    shown = resource.view.show(object_) if resource.view is not None else object_
    body = {key: value for key, value in shown.items() if key not in ("kind", "apiVersion")}
    return encode({"kind": resource.kind, "apiVersion": resource.group_version, **body})


class _Collection:
    """All objects of one kind, and the recent changes to them."""

    __slots__ = ("_sorted", "entries", "forgotten", "history")

    def __init__(self, forgotten: int) -> None:
        self.entries: dict[Key, Stored] = {}
        self.history: deque[Change] = deque()
        self.forgotten = forgotten
        self._sorted: list[Key] | None = None

    def keys(self) -> list[Key]:
        if self._sorted is None:
            self._sorted = sorted(self.entries)
        return self._sorted

    def put(self, key: Key, stored: Stored | None) -> None:
        if (stored is None) == (key in self.entries):
            self._sorted = None
        if stored is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = stored

    def remember(self, change: Change) -> None:
        self.history.append(change)
        if len(self.history) > HISTORY:
            self.forgotten = self.history.popleft().revision


class Store:
    """Every object of one cluster. `revision` is the number of the last change."""

    def __init__(self) -> None:
        self.revision = 0
        self._collections: dict[tuple[str, str], _Collection] = {}
        self._listeners: list[Callable[[Change], None]] = []
        self._oldest = 0

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Call `listener` within each commit from now on; it must neither raise nor commit."""
        self._listeners.append(listener)

    def get(self, resource: Resource, key: Key) -> Stored | None:
        """The current version of one object."""
        return self._collection(resource).entries.get(key)

    def values(self, resource: Resource, namespace: str = "") -> list[Stored]:
        """The current objects of a kind, in one namespace or in all, sorted by namespace and name."""
        return [stored for _, stored in self.entries(resource, namespace)]

    def entries(
        self, resource: Resource, namespace: str = "", *, at: int | None = None
    ) -> list[tuple[Key, Stored]]:
        """As `values`, with keys; `at` an earlier revision that `remembers` holds for."""
        collection = self._collection(resource)
        if at is not None and at < self.revision:
            past = self._rolled_back(collection, at)
            return [(key, past[key]) for key in sorted(past) if not namespace or key.namespace == namespace]
        keys = collection.keys()
        if namespace:
            first = bisect_left(keys, Key(namespace, ""))
            keys = keys[first : bisect_left(keys, Key(namespace + "\0", ""))]
        return [(key, collection.entries[key]) for key in keys]

    def remembers(self, resource: Resource, revision: int) -> bool:
        """Whether every change of the kind after that revision is still known."""
        return revision >= self._collection(resource).forgotten

    def changes_after(self, resource: Resource, revision: int) -> Iterable[Change]:
        """The changes of a kind after a revision that `remembers` holds for, oldest first."""
        history = self._collection(resource).history
        newer: list[Change] = []
        for change in reversed(history):
            if change.revision <= revision:
                break
            newer.append(change)
        return reversed(newer)

    def commit(self, resource: Resource, key: Key, object_: Object | None) -> Stored | None:
        """Store a new version of an object, or delete it (None), under the next revision.

        The object's `metadata.resourceVersion` is set; the caller gives it away and must not change it again.
        """
        collection, resource = self._collection(resource), resource.as_stored
        old = collection.entries.get(key)
        self.revision += 1
        stored = None if object_ is None else self._stamped(resource, object_, self.revision)
        collection.put(key, stored)
        change = Change(resource, key, self.revision, old, stored)
        collection.remember(change)
        for listener in self._listeners:
            listener(change)
        return stored

    def restore(self, resource: Resource, key: Key, object_: Object | None, revision: int) -> None:
        """Take up what an earlier process had; nobody is told, and no history is kept of it."""
        stored = None if object_ is None else self._stamped(resource.as_stored, object_, revision)
        self._collection(resource).put(key, stored)
        self.advance(revision)

    def advance(self, revision: int) -> None:
        """Go on from at least that revision; what was before is forgotten."""
        self.revision = self._oldest = max(self.revision, revision)
        for collection in self._collections.values():
            collection.forgotten = self._oldest

    def _collection(self, resource: Resource) -> _Collection:
        place = resource.place
        found = self._collections.get(place)
        if found is None:
            found = self._collections[place] = _Collection(self._oldest)
        return found

    @staticmethod
    def _stamped(resource: Resource, object_: Object, revision: int) -> Stored:
        object_["metadata"]["resourceVersion"] = str(revision)
        return Stored(object_, encode_object(resource, object_), revision)

    @staticmethod
    def _rolled_back(collection: _Collection, revision: int) -> dict[Key, Stored]:
        past = dict(collection.entries)
        for change in reversed(collection.history):
            if change.revision <= revision:
                break
            if change.old is None:
                past.pop(change.key, None)
            else:
                past[change.key] = change.old
        return past
