"""The catalogue: for each proxy the scopes it is served from, and for each change the names that it touches.

Nothing is derived here; that happens in the scopes, for names that somebody asks for. A scope is shared by
all proxies for which its key is equal, and lives for as long as one of them holds it: the catalogue itself
keeps only weak references to scopes and to the indexes that only they need.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from isthmus.config.mesh import MeshConfig
from isthmus.model.proxy import Proxy
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, Scope, ScopeChange
from isthmus.model.service import ClusterId, ServiceKey
from isthmus.model.view import Changes, MeshView
from isthmus.model.workload import Workload, WorkloadKey
from isthmus.translate.askers import Askers
from isthmus.translate.claims import Claims
from isthmus.translate.clusters import ClusterSpec, cluster_specs
from isthmus.translate.families import (
    Assignments,
    InboundClusters,
    InboundListener,
    OutboundClusters,
    OutboundListeners,
    OutboundRoutes,
    VirtualHosts,
)
from isthmus.translate.inbound import OwnPort, own_ports
from isthmus.translate.scope import Counters, DerivedScope, Family
from isthmus.translate.vantage import Vantage, VantageChange, dialled_endpoints

_HOME = ClusterId("Kubernetes")
_MOST_UNKNOWN = 100_000
"""Pods waited for; proxies that invent pods push out only each other."""


@dataclass(frozen=True, slots=True)
class _Mesh:
    """Outbound clusters and their endpoints: the same for all, while networks have no gateways."""


@dataclass(frozen=True, slots=True)
class _Listeners:
    cluster: ClusterId


@dataclass(frozen=True, slots=True)
class _Routes:
    cluster: ClusterId
    namespace: str


@dataclass(frozen=True, slots=True)
class _Inbound:
    ports: tuple[OwnPort, ...]


class Catalogue:
    """Configuration for every proxy, kept in step with the view by `apply`.

    `home` is the cluster of proxies that name none: the control plane's own.
    """

    def __init__(self, view: MeshView, mesh: MeshConfig, *, home: ClusterId = _HOME) -> None:
        self.counters = Counters()
        self._view = view
        self._mesh = mesh
        self._home = home
        self._clusters: Claims[ClusterSpec] = Claims()
        self._assignments = Assignments(self._clusters, view)
        self._hosts = VirtualHosts(self.counters)
        self._askers = Askers()
        self._strangers = Askers(_MOST_UNKNOWN)
        self._vantages: WeakValueDictionary[ClusterId, Vantage] = WeakValueDictionary()
        self._scopes: WeakValueDictionary[Hashable, DerivedScope] = WeakValueDictionary()
        for key in view.services():
            service = view.service(key)
            if service is not None:
                self._clusters.replace(key, cluster_specs(service))

    def scopes(self, proxy: Proxy) -> tuple[Scope, ...]:
        """The scopes whose union is the proxy's configuration.

        While the proxy's pod is not known, its inbound side passes everything through; `rescoped` names the
        proxy when the pod appears.
        """
        cluster = proxy.cluster or self._home
        workload = self._workload(proxy, cluster)
        ports = () if workload is None else own_ports(self._view.inbound_ports(workload))
        namespace = proxy.namespace if workload is None else workload.key.namespace
        vantage = self._vantages.get(cluster)
        if vantage is None:
            vantage = self._vantages[cluster] = Vantage(cluster, self._view)
        return (
            self._scope(_Mesh(), lambda: (OutboundClusters(self._clusters, self._mesh), self._assignments)),
            self._scope(_Listeners(cluster), lambda: (OutboundListeners(vantage, self._mesh),)),
            self._scope(
                _Routes(cluster, namespace),
                lambda: (OutboundRoutes(vantage, namespace, self._hosts, self._mesh),),
            ),
            self._scope(
                _Inbound(ports),
                lambda: (InboundClusters(ports, self._mesh), InboundListener(ports, self._mesh)),
            ),
        )

    def apply(self, changes: Changes) -> list[ScopeChange]:
        """Forget what changed and say which names these are, in the scopes that somebody holds.

        To be called once for each of the view's changes, in their order.
        """
        clusters: set[str] = set()
        assignments: set[str] = set()
        vantages: dict[ClusterId, VantageChange] = {}
        for key in changes.services:
            assignments.update(self._assignments.of_service(key))
            service = self._view.service(key)
            clusters |= self._clusters.replace(key, {} if service is None else cluster_specs(service))
            self._hosts.forget(key)
        for key in changes.services | changes.endpoints:
            assignments.update(self._assignments.of_service(key))
            if key in changes.services or not self._assignments.serves(key):
                self._revise_vantages(key, vantages)
        found = [self._forget(_Mesh(), {CLUSTER: clusters, ENDPOINT: assignments})]
        for cluster, changed in vantages.items():
            found.append(self._forget(_Listeners(cluster), {LISTENER: changed.listeners}))
            of_cluster = [key for key in self._scopes if isinstance(key, _Routes) and key.cluster == cluster]
            found.extend(self._forget(key, {ROUTE: changed.routes}) for key in of_cluster)
        return [change for change in found if change is not None]

    def rescoped(self, changes: Changes) -> set[str]:
        """Node ids of the proxies whose `scopes` must be asked anew: their pod appeared, changed or went.

        Each is named once, until it asks again. Many will get the same scopes as before.
        """
        subjects: list[Hashable] = []
        for key in changes.workloads:
            workload = self._view.workload(key)
            subjects.append(key)
            if workload is not None:
                subjects.extend((key.cluster, address) for address in workload.addresses)
        return self._askers.take(subjects) | self._strangers.take(subjects)

    def _workload(self, proxy: Proxy, cluster: ClusterId) -> Workload | None:
        """The proxy's pod, by its name or else by its address; noted, so that its changes find the proxy."""
        key = WorkloadKey(cluster, proxy.namespace, proxy.pod)
        workload = self._view.workload(key)
        if workload is None:
            workload = self._view.workload_at(cluster, proxy.address)
        if workload is None:
            for subject in (key, (cluster, proxy.address)):
                self._strangers.note(subject, proxy.node_id)
        else:
            self._askers.note(workload.key, proxy.node_id)
        return workload

    def _scope(self, key: Hashable, families: Callable[[], Iterable[Family]]) -> DerivedScope:
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = DerivedScope(key, families(), self.counters)
        return scope

    def _revise_vantages(self, key: ServiceKey, changed: dict[ClusterId, VantageChange]) -> None:
        if not self._vantages:
            return
        service = self._view.service(key)
        dialled = dialled_endpoints(self._view, service)
        for cluster, vantage in list(self._vantages.items()):
            change = vantage.replace(key, service, dialled)
            before = changed.get(cluster, VantageChange(frozenset(), frozenset()))
            changed[cluster] = VantageChange(
                before.listeners | change.listeners, before.routes | change.routes
            )

    def _forget(self, key: Hashable, names: dict[str, set[str] | frozenset[str]]) -> ScopeChange | None:
        scope = self._scopes.get(key)
        changed = {type_url: some for type_url, some in names.items() if some}
        return scope.forget(changed) if scope is not None and changed else None
