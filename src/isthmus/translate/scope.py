"""Scopes: resources derived when somebody asks for them, serialised once, and remembered until forgotten."""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from isthmus.model.resources import Resource, Scope, ScopeChange
from isthmus.translate.wire import version_of


class Family(Protocol):
    """The resources of one type within one scope."""

    @property
    def type_url(self) -> str:
        """The type of all of them."""
        ...

    def names(self) -> Collection[str]:
        """All that exist now."""
        ...

    def has(self, name: str) -> bool:
        """Whether `names()` has it, without making the others."""
        ...

    def body(self, name: str) -> bytes:
        """Derive one of `names()`."""
        ...


@dataclass(slots=True)
class Counters:
    """Work done since the start. Virtual hosts are serialised apart from the resources that hold them."""

    derivations: int = 0
    serialisations: int = 0


class DerivedScope:
    """`model.resources.Scope` over one family for each type. Whoever holds it keeps it alive."""

    def __init__(
        self,
        key: Hashable,
        families: Iterable[Family],
        counters: Counters,
        groundwork: Callable[[], Iterator[None]] | None = None,
    ) -> None:
        """`groundwork` comes before deriving in `preparing`; without one there is little to derive, and
        nothing to prepare.
        """
        self._key = key
        self._counters = counters
        self._groundwork = groundwork
        self._families = {family.type_url: family for family in families}
        self._fresh: dict[str, dict[str, Resource]] = {type_url: {} for type_url in self._families}
        self._former: dict[str, dict[str, Resource]] = {type_url: {} for type_url in self._families}
        self._all: dict[str, Sequence[Resource]] = {}

    @property
    def key(self) -> Hashable:
        """What its resources depend on."""
        return self._key

    @property
    def types(self) -> Collection[str]:
        """Those of its families."""
        return self._families.keys()

    @property
    def prepared(self) -> bool:
        """See `Scope`."""
        return self._groundwork is None

    def preparing(self) -> Iterator[None]:
        """See `Scope`."""
        if self._groundwork is None:
            return
        try:
            yield from self._groundwork()
            for type_url, family in self._families.items():
                for name in tuple(family.names()):
                    self.get(type_url, name)
                    yield
        finally:
            self._groundwork = None

    def get(self, type_url: str, name: str) -> Resource | None:
        """The named resource. It is the same object for as long as its content is the same."""
        family = self._families.get(type_url)
        if family is None:
            return None
        known = self._fresh[type_url].get(name)
        if known is None and family.has(name):
            known = self._fresh[type_url][name] = self._derive(family, name)
        return known

    def all(self, type_url: str) -> Sequence[Resource]:
        """Every resource of that type, sorted by name."""
        family = self._families.get(type_url)
        if family is None:
            return ()
        if type_url not in self._all:
            found = (self.get(type_url, name) for name in sorted(family.names()))
            self._all[type_url] = tuple(resource for resource in found if resource is not None)
        return self._all[type_url]

    def forget(self, names: Mapping[str, Collection[str]]) -> ScopeChange:
        """Let go of the named resources of each type; they are derived anew when asked for."""
        for type_url, changed in names.items():
            family = self._families[type_url]
            fresh, former = self._fresh[type_url], self._former[type_url]
            for name in changed:
                known = fresh.pop(name, None)
                if not family.has(name):
                    former.pop(name, None)
                elif known is not None:
                    former[name] = known
            self._all.pop(type_url, None)
        return ScopeChange(self, {type_url: frozenset(changed) for type_url, changed in names.items()})

    def _derive(self, family: Family, name: str) -> Resource:
        body = family.body(name)
        self._counters.derivations += 1
        self._counters.serialisations += 1
        former = self._former[family.type_url].pop(name, None)
        if former is not None and former.body == body:
            return former
        return Resource(family.type_url, name, version_of(body), body)


class Seen(list[Scope]):
    """Scopes in their order. Other than a tuple it can be referred to weakly."""
