"""Every shelf that some stream may follow, by scope and type, and who is concerned by a change."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from isthmus.model.resources import Scope, ScopeChange
from isthmus.xds.due import Batches, merge
from isthmus.xds.interest import Holders
from isthmus.xds.shelf import Batch, Shelf

F = TypeVar("F")


class Outlook(Generic[F]):
    """What proxies with the same scopes see: one object for all of them, which keeps the shelves alive."""

    __slots__ = ("__weakref__", "_of", "_shelves", "scopes")

    def __init__(self, scopes: Sequence[Scope], shelves: "Shelves[F]") -> None:
        self.scopes = scopes
        self._of = shelves
        self._shelves: dict[str, tuple[Shelf[F], ...]] = {}

    @property
    def prepared(self) -> bool:
        """Whether it costs little to read."""
        for scope in self.scopes:  # noqa: SIM110 (it runs for every proxy that comes, as in `due.changes`)
            if not scope.prepared:
                return False
        return True

    def preparing(self) -> Iterator[None]:
        """Derive what is to be seen, and what the messages are made of, a little at each step."""
        for scope in self.scopes:
            if not scope.prepared:
                yield from scope.preparing()
                for type_url in scope.types:
                    for shelf in self.shelves(type_url):
                        yield from shelf.preparing()

    def shelves(self, type_url: str) -> tuple[Shelf[F], ...]:
        """Those that may have resources of that type."""
        found = self._shelves.get(type_url)
        if found is None:
            found = tuple(self._of.of(scope, type_url) for scope in self.scopes if type_url in scope.types)
            if found:
                self._shelves[type_url] = found
        return found


class Shelves(Generic[F]):
    """`F` is whoever follows shelves."""

    def __init__(self) -> None:
        self._holders = Holders()
        self._shelves: WeakValueDictionary[tuple[Hashable, str], Shelf[F]] = WeakValueDictionary()
        self._outlooks: WeakValueDictionary[tuple[Hashable, ...], Outlook[F]] = WeakValueDictionary()
        self._last_merge: tuple[Batches, Batch, Batches] | None = None

    def outlook(self, scopes: Sequence[Scope]) -> Outlook[F]:
        """What is seen with these scopes. It keeps the sequence, which must not change."""
        key = tuple([scope.key for scope in scopes])
        outlook = self._outlooks.get(key)
        if outlook is None:
            outlook = self._outlooks[key] = Outlook(scopes, self)
        return outlook

    def of(self, scope: Scope, type_url: str) -> Shelf[F]:
        """The shelf of one type in one scope; scopes with equal keys share it. One that nobody keeps is
        forgotten.
        """
        key = (scope.key, type_url)
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = self._shelves[key] = Shelf[F](scope, type_url, self._holders)
        return shelf

    def changed(self, change: ScopeChange, since: float) -> Iterator[tuple[Batch, Iterable[F]]]:
        """Whom a change concerns: batches, each with its followers. `since` is as for `Batch`."""
        for type_url, names in change.names.items():
            shelf = self._shelves.get((change.scope.key, type_url))
            if shelf is not None and names:
                yield from shelf.changed(names, since)

    def merge(self, due: Batches, batch: Batch) -> Batches:
        """What is due when `batch` comes on top. Streams in step get the same object."""
        last = self._last_merge
        if last is not None and last[0] is due and last[1] is batch:
            return last[2]
        merged = merge(due, batch)
        self._last_merge = (due, batch, merged)
        return merged
