"""What changes touch, gathered by whom it concerns, and then told to the scopes that somebody holds."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from isthmus.model.exports import EVERYBODY, Audience
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, NAME_TABLE, ROUTE, ScopeChange
from isthmus.model.service import ClusterId, Kind
from isthmus.translate.clusters import ClusterSpec, Reach
from isthmus.translate.name_table import THE_ONE
from isthmus.translate.scope import DerivedScope
from isthmus.translate.scope_keys import (
    ClustersKey,
    EndpointsKey,
    ListenersKey,
    NearKey,
    NodeEndpointsKey,
    RoutesKey,
    ZoneEndpointsKey,
)
from isthmus.translate.vantage import Named, VantageChange

_Names = dict[str, set[str]]
"""As `Named`."""


def _by_reach() -> dict[Reach, _Names]:
    return {reach: {} for reach in Reach}


@dataclass(frozen=True, slots=True)
class Touched:
    """Names by namespace, that of everybody "". `tables`: whose name tables change."""

    clusters: _Names = field(default_factory=dict[str, set[str]])
    assignments: dict[Reach, _Names] = field(default_factory=_by_reach)
    listeners: dict[ClusterId, _Names] = field(default_factory=dict[ClusterId, _Names])
    routes: dict[ClusterId, _Names] = field(default_factory=dict[ClusterId, _Names])
    tables: set[str] = field(default_factory=set[str])

    def note_clusters(self, audience: Audience, names: Iterable[str]) -> None:
        """These clusters change for them."""
        _add(self.clusters, dict.fromkeys(audience, names))

    def note_assignments(self, audience: Audience, specs: Mapping[str, ClusterSpec]) -> None:
        """So do the endpoints of these, where they are asked for."""
        for name, spec in specs.items():
            if spec.kind is Kind.CLUSTER_IP:
                _add(self.assignments[spec.reach], dict.fromkeys(audience, (name,)))

    def note_vantage(self, cluster: ClusterId, change: VantageChange) -> None:
        """So do these listeners and routes in that cluster."""
        _add(self.listeners.setdefault(cluster, {}), change.listeners)
        _add(self.routes.setdefault(cluster, {}), change.routes)

    def forgotten(self, scopes: Mapping[Hashable, DerivedScope]) -> list[ScopeChange]:
        """Forget all that in the scopes that are there."""
        found: dict[Hashable, dict[str, set[str]]] = {}

        def tell(key: Hashable, type_url: str, names: set[str]) -> None:
            if names and key in scopes:
                found.setdefault(key, {}).setdefault(type_url, set()).update(names)

        for namespace, names in self.clusters.items():
            for secured in (True, False):
                tell(ClustersKey(secured, namespace), CLUSTER, names)
        for namespace, names in self.assignments[Reach.MESH].items():
            tell(EndpointsKey(namespace), ENDPOINT, names)
        for cluster, named in self.listeners.items():
            for namespace, names in named.items():
                for ipv6 in (False, True):
                    tell(ListenersKey(cluster, ipv6, namespace), LISTENER, names)
        near, on_node = self.assignments[Reach.CLUSTER], self.assignments[Reach.NODE]
        in_zone = self.assignments[Reach.ZONE]
        if near or on_node or in_zone or self.tables or any(self.routes.values()):
            for key in list(scopes):
                match key:
                    case NearKey():
                        tell(key, ENDPOINT, _seen_from(key.namespace, near))
                        if not self.tables.isdisjoint((key.namespace, *EVERYBODY)):
                            tell(key, NAME_TABLE, {THE_ONE})
                    case ZoneEndpointsKey():
                        tell(key, ENDPOINT, _seen_from(key.namespace, in_zone))
                    case NodeEndpointsKey():
                        tell(key, ENDPOINT, _seen_from(key.namespace, on_node))
                    case RoutesKey():
                        tell(key, ROUTE, _seen_from(key.namespace, self.routes.get(key.cluster, {})))
                    case _:
                        pass
        return [scope.forget(names) for key, names in found.items() if (scope := scopes.get(key)) is not None]


def _add(names: _Names, more: Named | Mapping[str, Iterable[str]]) -> None:
    for namespace, some in more.items():
        names.setdefault(namespace, set()).update(some)


def _seen_from(namespace: str, names: _Names) -> set[str]:
    return names.get("", set()) | (names.get(namespace, set()) if namespace else set())
