"""Whose pods stand behind each service of one cluster: service accounts, counted slice by slice.

Clients check a server's certificate against them, and a change of them costs every client a new cluster, so
it must be told apart from the many changes that leave them alone. Cost: the slice that changed.
"""

from collections import Counter
from collections.abc import Collection

from isthmus.kube.decoding import Ref
from isthmus.model.service import ServiceKey

_NOBODY: frozenset[str] = frozenset()


class Accounts:
    """Service accounts by service. Endpoints that are not ready count too: their pods are there."""

    def __init__(self) -> None:
        self._of_slice: dict[Ref, tuple[ServiceKey, frozenset[str]]] = {}
        self._slices: dict[ServiceKey, Counter[str]] = {}

    def of(self, service: ServiceKey) -> Collection[str]:
        """The accounts behind a service, in no order."""
        return self._slices.get(service, _NOBODY)

    def note(self, name: Ref, service: ServiceKey, accounts: frozenset[str]) -> set[ServiceKey]:
        """A slice has these accounts now (none: it is gone); the services for which that is a difference."""
        before = self._of_slice.get(name)
        now = (service, accounts) if accounts else None
        if before == now:
            return set()
        touched = {each[0]: frozenset(self.of(each[0])) for each in (before, now) if each is not None}
        if before is not None:
            self._count(*before, -1)
            del self._of_slice[name]
        if now is not None:
            self._count(*now, 1)
            self._of_slice[name] = now
        return {key for key, had in touched.items() if had != frozenset(self.of(key))}

    def _count(self, service: ServiceKey, accounts: frozenset[str], by: int) -> None:
        counts = self._slices.setdefault(service, Counter())
        for account in accounts:
            counts[account] += by
            if not counts[account]:
                del counts[account]
        if not counts:
            del self._slices[service]
