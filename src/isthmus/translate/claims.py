"""Which service wants which resource name, and what for: the index that tells what a change changes.

Specs hold all that a resource depends on, so comparing two of them says whether the resource differs without
deriving either.
"""

from collections.abc import Collection, Mapping
from typing import Generic, TypeVar

from isthmus.model.service import ServiceKey

S = TypeVar("S")


class Claims(Generic[S]):
    """Names, and under each the services that claim it with their specs; several may share one."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[ServiceKey, S]] = {}
        self._by_service: dict[ServiceKey, Mapping[str, S]] = {}

    def names(self) -> Collection[str]:
        """Every name that some service claims."""
        return self._by_name.keys()

    def on(self, name: str) -> Mapping[ServiceKey, S]:
        """The claims on a name; none where nobody wants it."""
        return self._by_name.get(name, {})

    def by(self, service: ServiceKey) -> Mapping[str, S]:
        """The claims of a service, by name."""
        return self._by_service.get(service, {})

    def winner(self, name: str) -> S | None:
        """The claim in force where only one can be: that of the first service by namespace and name."""
        claims = self.on(name)
        return claims[min(claims)] if claims else None

    def replace(self, service: ServiceKey, claims: Mapping[str, S]) -> frozenset[str]:
        """Put new claims in place of a service's old ones; returns the names for which they differ."""
        old = self._by_service.pop(service, {})
        if claims:
            self._by_service[service] = claims
        changed = frozenset(name for name in old.keys() | claims.keys() if old.get(name) != claims.get(name))
        for name in changed:
            if name in claims:
                self._by_name.setdefault(name, {})[service] = claims[name]
            else:
                del self._by_name[name][service]
                if not self._by_name[name]:
                    del self._by_name[name]
        return changed
