"""Every shelf that some stream follows, by scope and type, and who is concerned by a change."""

from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

from isthmus.model.resources import Scope, ScopeChange
from isthmus.xds.due import Batches, merge
from isthmus.xds.interest import Holders, Interest
from isthmus.xds.shelf import Batch, Shelf

F = TypeVar("F")


class Shelves(Generic[F]):
    """`F` is whoever follows shelves."""

    def __init__(self) -> None:
        self._holders = Holders()
        self._scopes: dict[Hashable, dict[str, Shelf[F]]] = {}
        self._last_merge: tuple[Batches, Batch, Batches] | None = None

    def of(self, scope: Scope, type_url: str) -> Shelf[F]:
        """The shelf of one type in one scope; scopes with equal keys share it. One that nobody follows is
        forgotten.
        """
        shelf = self._scopes.get(scope.key, {}).get(type_url)
        if shelf is None:
            return Shelf[F](scope, type_url, self._holders)
        return shelf

    def follow(self, scope: Scope, type_url: str, interest: Interest, follower: F) -> None:
        """Tell `follower` of changes to what it is interested in."""
        types = self._scopes.setdefault(scope.key, {})
        if type_url not in types:
            types[type_url] = Shelf[F](scope, type_url, self._holders)
        types[type_url].follow(interest, follower)

    def leave(self, scope: Scope, type_url: str, interest: Interest, follower: F) -> None:
        """Undo `follow`."""
        types = self._scopes[scope.key]
        if types[type_url].leave(interest, follower):
            del types[type_url]
            if not types:
                del self._scopes[scope.key]

    def changed(self, change: ScopeChange) -> Iterator[tuple[Batch, Iterable[F]]]:
        """Whom a change concerns: batches, each with its followers."""
        types = self._scopes.get(change.scope.key)
        if types is None:
            return
        for type_url, names in change.names.items():
            shelf = types.get(type_url)
            if shelf is not None and names:
                yield from shelf.changed(names)

    def merge(self, due: Batches, batch: Batch) -> Batches:
        """What is due when `batch` comes on top. Streams in step get the same object."""
        last = self._last_merge
        if last is not None and last[0] is due and last[1] is batch:
            return last[2]
        merged = merge(due, batch)
        self._last_merge = (due, batch, merged)
        return merged
