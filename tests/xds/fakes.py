"""A provider whose scopes a test fills by hand, and a wire that only counts."""

import hashlib
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence

from isthmus.model.proxy import Proxy
from isthmus.model.resources import PUSH_ORDER, Resource, Scope, ScopeChange


def resource(type_url: str, name: str, content: str = "") -> Resource:
    """A resource whose body is readable; it need not be a real message."""
    body = f"{name}={content}".encode()
    return Resource(type_url, name, hashlib.sha256(body).hexdigest()[:12], body)


class FakeScope:
    """Resources by type and name, altered by `put` and `drop`, which return the change to publish."""

    def __init__(self, key: Hashable, *resources: Resource) -> None:
        self._key = key
        self._by_type: dict[str, dict[str, Resource]] = {}
        self._all: dict[str, Sequence[Resource]] = {}
        self.reads: Counter[str] = Counter()
        self.put(*resources)

    @property
    def key(self) -> Hashable:
        return self._key

    @property
    def types(self) -> Collection[str]:
        return PUSH_ORDER

    @property
    def prepared(self) -> bool:
        return True

    def preparing(self) -> Iterator[None]:
        return iter(())

    def get(self, type_url: str, name: str) -> Resource | None:
        self.reads[name] += 1
        return self._by_type.get(type_url, {}).get(name)

    def all(self, type_url: str) -> Sequence[Resource]:
        if type_url not in self._all:
            self._all[type_url] = [one for _, one in sorted(self._by_type.get(type_url, {}).items())]
        return self._all[type_url]

    def put(self, *resources: Resource) -> ScopeChange:
        for one in resources:
            self._by_type.setdefault(one.type_url, {})[one.name] = one
        return self._change((one.type_url, one.name) for one in resources)

    def drop(self, type_url: str, *names: str) -> ScopeChange:
        for name in names:
            del self._by_type[type_url][name]
        return self._change((type_url, name) for name in names)

    def _change(self, names: Iterable[tuple[str, str]]) -> ScopeChange:
        by_type: dict[str, frozenset[str]] = {}
        for type_url, name in names:
            by_type[type_url] = by_type.get(type_url, frozenset()) | {name}
            self._all.pop(type_url, None)
        return ScopeChange(self, by_type)


class FakeProvider:
    """Every proxy sees `common`, and those named in `own` their scopes besides."""

    def __init__(self, *common: Scope, own: Mapping[str, Sequence[Scope]] | None = None) -> None:
        self.common = common
        self.own = dict(own or {})

    def scopes(self, proxy: Proxy) -> Sequence[Scope]:
        return [*self.common, *self.own.get(proxy.pod, ())]


class FakeWire:
    """Counts how often it was woken."""

    peer = "test"

    def __init__(self) -> None:
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1
