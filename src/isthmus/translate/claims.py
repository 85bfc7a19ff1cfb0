"""Which service wants which resource name, and what for: the index that tells what a change changes.

Specs hold all that a resource depends on, so comparing two of them says whether the resource differs without
deriving either.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import Generic, TypeVar

from isthmus.model.service import ServiceKey

S = TypeVar("S")


class Claims(Generic[S]):
    """Names, and under each the services that claim it with their specs; several may share one."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[ServiceKey, S]] = {}
        self._by_service: dict[ServiceKey, Mapping[str, S]] = {}
        self._ordered: dict[str, list[ServiceKey]] = {}

    def names(self) -> Collection[str]:
        """Every name that some service claims."""
        return self._by_name.keys()

    def on(self, name: str) -> Mapping[ServiceKey, S]:
        """The claims on a name; none where nobody wants it."""
        return self._by_name.get(name, {})

    def by(self, service: ServiceKey) -> Mapping[str, S]:
        """The claims of a service, by name."""
        return self._by_service.get(service, {})

    def ordered(self, name: str) -> Sequence[ServiceKey]:
        """The services that claim a name, sorted; kept so from when it is first asked."""
        known = self._ordered.get(name)
        if known is None:
            known = self._ordered[name] = sorted(self.on(name))
        return known

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
            if name in self._ordered and (name in old) is not (name in claims):
                self._reorder(name, service)
        return changed

    def _reorder(self, name: str, service: ServiceKey) -> None:
        """The service claims the name now, or does so no more."""
        services = self._ordered[name]
        at = bisect_left(services, service)
        if name in self.by(service):
            services.insert(at, service)
        else:
            del services[at]
        if not services:
            del self._ordered[name]
