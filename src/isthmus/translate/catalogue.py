"""The catalogue: for each proxy the scopes it is served from, and for each change the names that it touches.

Nothing is derived here; that happens in the scopes, for names that somebody asks for. A scope is shared by
all proxies for which its key is equal, and lives for as long as one of them holds it: the catalogue itself
keeps only weak references to scopes and to the indexes that only they need.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple
from weakref import WeakValueDictionary

from isthmus.config.accepted_tls import PeerAuthentications
from isthmus.config.cluster_local import ClusterLocalServices
from isthmus.config.mesh import MeshConfig
from isthmus.config.policy import POLICY
from isthmus.config.policy_scope import Policies
from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref
from isthmus.model.proxy import Proxy
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, NAME_TABLE, ROUTE, Scope, ScopeChange
from isthmus.model.service import ClusterId, Kind, Service, ServiceKey
from isthmus.model.view import Changes, MeshView
from isthmus.model.workload import Endpoint, Workload, WorkloadKey
from isthmus.translate.askers import Askers
from isthmus.translate.claims import Claims
from isthmus.translate.clusters import ClusterSpec, Reach, cluster_specs
from isthmus.translate.families import (
    Assignments,
    InboundClusters,
    InboundListener,
    LargeFamily,
    OutboundClusters,
    OutboundListeners,
    OutboundRoutes,
    VirtualHosts,
)
from isthmus.translate.inbound import own_ports
from isthmus.translate.name_table import THE_ONE, NameTable
from isthmus.translate.policy_checks import policy_check
from isthmus.translate.scope import Counters, DerivedScope, Family
from isthmus.translate.scope_keys import (
    ClustersKey,
    EndpointsKey,
    InboundKey,
    ListenersKey,
    NodeEndpointsKey,
    RoutesKey,
)
from isthmus.translate.vantage import Vantage, VantageChange, dialled_endpoints

_HOME = ClusterId("Kubernetes")
_FEW = 100
"""Outbound clusters whose resources are derived in some milliseconds."""
_MOST_UNKNOWN = 100_000
"""Pods waited for; proxies that invent pods push out only each other."""


class _Assigned(NamedTuple):
    """Names of assignments, by whom they are for."""

    mesh: set[str]
    cluster: set[str]
    node: set[str]


class Catalogue:
    """Configuration for every proxy, kept in step with the view by `apply`.

    `home` is the cluster of proxies that name none: the control plane's own. `peers` say which workloads
    accept mutual TLS; a change of them is told by `peers_changed`. `policies` say which workloads ask the
    policy server; a change of them is told by `rescoped_by_policy` alone.
    """

    def __init__(
        self,
        view: MeshView,
        mesh: MeshConfig,
        *,
        home: ClusterId = _HOME,
        peers: PeerAuthentications | None = None,
        policies: Policies | None = None,
    ) -> None:
        self.counters = Counters()
        self._view = view
        self._mesh = mesh
        self._home = home
        self._peers = peers or PeerAuthentications(mesh.root_namespace)
        self._policies: Policies = policies or ConfigStore(POLICY)
        self._clusters: Claims[ClusterSpec] = Claims()
        self._local = ClusterLocalServices(mesh.service_settings)
        self._assignments = Assignments(self._clusters, view, self._takes_tls)
        self._hosts = VirtualHosts(self.counters)
        self._askers = Askers()
        self._strangers = Askers(_MOST_UNKNOWN)
        self._vantages: WeakValueDictionary[ClusterId, Vantage] = WeakValueDictionary()
        self._name_tables: WeakValueDictionary[ClusterId, NameTable] = WeakValueDictionary()
        self._scopes: WeakValueDictionary[Hashable, DerivedScope] = WeakValueDictionary()
        self._node_local: set[ServiceKey] = set()
        self._all_anew = False
        for key in view.services():
            self._clusters.replace(key, self._cluster_specs(key))
            self._note_reach(key)
        self._all_anew = False

    def scopes(self, proxy: Proxy) -> tuple[Scope, ...]:
        """The scopes whose union is the proxy's configuration.

        While the proxy's pod is not known, its inbound side passes everything through; `rescoped` names the
        proxy when the pod appears. Whether the proxy holds a certificate is read off its pod, by the label
        that its clients go by, or else known from its having shown one: without one it neither asks for
        mutual TLS nor offers it.
        """
        cluster = proxy.cluster or self._home
        workload = self._workload(proxy, cluster)
        ports = () if workload is None else own_ports(self._view.inbound_ports(workload))
        namespace = proxy.namespace if workload is None else workload.key.namespace
        accepted = self._peers.accepted(namespace, {} if workload is None else workload.labels)
        secured = proxy.identity is not None if workload is None else workload.tls_capable
        if not secured:
            accepted = accepted.without_certificate()
        check = None
        if workload is not None:
            check = policy_check(workload, self._view, self._policies, self._mesh)
        ipv6 = any(":" in each for each in ((proxy.address,) if workload is None else workload.addresses))
        vantage = self._vantages.get(cluster)
        if vantage is None:
            vantage = self._vantages[cluster] = Vantage(cluster, self._view)
        return (
            self._large_scope(
                ClustersKey(secured), lambda: OutboundClusters(self._clusters, self._mesh, secured=secured)
            ),
            self._large_scope(EndpointsKey(), lambda: self._assignments),
            self._large_scope(
                ListenersKey(cluster, ipv6), lambda: OutboundListeners(vantage, self._mesh, ipv6=ipv6)
            ),
            self._large_scope(
                RoutesKey(cluster, namespace),
                lambda: OutboundRoutes(vantage, namespace, self._hosts, self._mesh),
            ),
            self._scope(
                InboundKey(ports, accepted, secured, check, ipv6),
                lambda: (
                    InboundClusters(ports, self._mesh),
                    InboundListener(ports, accepted, self._mesh, secured=secured, check=check, ipv6=ipv6),
                ),
            ),
            self._scope(
                EndpointsKey(cluster),
                lambda: (
                    self._assignments_within(Reach.CLUSTER, cluster),
                    self._name_table(cluster),
                ),
            ),
            *self._on_node(cluster, "" if workload is None else workload.node),
        )

    def _name_table(self, cluster: ClusterId) -> NameTable:
        table = self._name_tables[cluster] = NameTable(self._view, cluster, self._local)
        return table

    def _on_node(self, cluster: ClusterId, node: str) -> tuple[Scope, ...]:
        """Few meshes have a node-local service, so only with one there is a scope for each node."""
        if not self._node_local:
            return ()
        key = NodeEndpointsKey(cluster, node)
        return (self._scope(key, lambda: (self._assignments_within(Reach.NODE, cluster, node),)),)

    def apply(self, changes: Changes) -> list[ScopeChange]:
        """Forget what changed and say which names these are, in the scopes that somebody holds.

        To be called once for each of the view's changes, in their order.
        """
        clusters: set[str] = set()
        assignments = _Assigned(set(), set(), set())
        vantages: dict[ClusterId, VantageChange] = {}
        renamed = set(changes.services)
        for key in changes.services:
            self._note_assignments(key, assignments)
            self._hosts.forget(key)
            self._note_reach(key)
        for key in changes.services | changes.endpoints:
            together = not self._assignments.serves(key)
            if key in changes.services or key in changes.accounts or together:
                clusters |= self._clusters.replace(key, self._cluster_specs(key))
            self._note_assignments(key, assignments)
            if key in changes.services or together:
                self._revise_vantages(key, vantages)
            if together:
                renamed.add(key)
        found = self._forget_outbound(clusters, assignments)
        for cluster, table in list(self._name_tables.items()) if renamed else ():
            table.forget(renamed)
            found.append(self._forget(EndpointsKey(cluster), {NAME_TABLE: {THE_ONE}}))
        for cluster, changed in vantages.items():
            found += [
                self._forget(ListenersKey(cluster, ipv6), {LISTENER: changed.listeners})
                for ipv6 in (False, True)
            ]
            of_cluster = [
                key for key in self._scopes if isinstance(key, RoutesKey) and key.cluster == cluster
            ]
            found.extend(self._forget(key, {ROUTE: changed.routes}) for key in of_cluster)
        return [change for change in found if change is not None]

    def peers_changed(self, ref: Ref) -> list[ScopeChange]:
        """Forget what depends on that PeerAuthentication; `rescoped_by` names the proxies that do.

        Most assignments will be as before, which is noticed as they are read.
        """
        self._assignments.forget_encoded()
        assignments = _Assigned(set(), set(), set())
        clusters: set[str] = set()
        for key in self._view.services():
            if self._peers.concerns(ref, key.namespace):
                self._note_assignments(key, assignments)
                if not self._assignments.serves(key):
                    clusters |= self._clusters.replace(key, self._cluster_specs(key))
        return [each for each in self._forget_outbound(clusters, assignments) if each is not None]

    def rescoped_by(self, ref: Ref) -> set[str]:
        """Node ids of the proxies whose `scopes` must be asked anew after that PeerAuthentication changed."""
        return self._asking_within(lambda namespace: self._peers.concerns(ref, namespace))

    def rescoped_by_policy(self, ref: Ref) -> set[str]:
        """Node ids of the proxies whose `scopes` must be asked anew after that Policy changed. Only those
        that ask the policy server now, or did, get others.
        """
        everywhere = ref.namespace == self._mesh.root_namespace
        return self._asking_within(lambda namespace: everywhere or namespace == ref.namespace)

    def rescoped(self, changes: Changes) -> set[str]:
        """Node ids of the proxies whose `scopes` must be asked anew: their pod appeared or changed.

        Each is named once, until it asks again. Many will get the same scopes as before. One whose pod is
        gone keeps what it has: it ends, or its cluster left the mesh, and then it must serve as it did when
        the cluster comes back. All are named when the first node-local service came, or the last went.
        """
        if self._all_anew:
            self._all_anew = False
            return self._asking_within(lambda namespace: True)
        subjects: list[Hashable] = []
        for key in changes.workloads:
            workload = self._view.workload(key)
            if workload is None:
                for node_id in self._askers.take((key,)):
                    self._strangers.note(key, node_id)
                continue
            subjects.append(key)
            subjects.extend((key.cluster, address) for address in workload.addresses)
        return self._asking(subjects)

    def _asking_within(self, concerned: Callable[[str], bool]) -> set[str]:
        """The proxies of the namespaces that are concerned."""
        return self._asking(
            key
            for askers in (self._askers, self._strangers)
            for key in askers.subjects()
            if isinstance(key, WorkloadKey) and concerned(key.namespace)
        )

    def _asking(self, subjects: Iterable[Hashable]) -> set[str]:
        wanted = tuple(subjects)
        return self._askers.take(wanted) | self._strangers.take(wanted)

    def _assignments_within(self, reach: Reach, cluster: ClusterId, node: str = "") -> Assignments:
        return Assignments(
            self._clusters, self._view, self._takes_tls, reach=reach, cluster=cluster, node=node
        )

    def _note_reach(self, key: ServiceKey) -> None:
        """Keep count of node-local services."""
        before = bool(self._node_local)
        service = self._view.service(key)
        if service is not None and service.node_local:
            self._node_local.add(key)
        else:
            self._node_local.discard(key)
        self._all_anew |= before is not bool(self._node_local)

    def _reach_of(self, service: Service) -> Reach:
        if service.node_local:
            return Reach.NODE
        return Reach.CLUSTER if service.key in self._local else Reach.MESH

    def _cluster_specs(self, key: ServiceKey) -> Mapping[str, ClusterSpec]:
        """What of a service its outbound clusters depend on."""
        service = self._view.service(key)
        if service is None:
            return {}
        reach = self._reach_of(service)
        if not self._mesh.enable_auto_mtls:
            return cluster_specs(service, reach=reach)
        all_tls: dict[int, bool] = {}
        if service.kind is Kind.HEADLESS:
            for number, some in self._view.endpoints(key).items():
                known = [self._takes_tls(each) for each in some if not each.awaited]
                all_tls[number] = bool(known) and all(known)
        return cluster_specs(service, self._view.accounts(key), all_tls, reach=reach)

    def _takes_tls(self, endpoint: Endpoint) -> bool:
        """Whether clients use mutual TLS to it: it can, accepts it there, and the mesh wants it."""
        workload = endpoint.workload
        if workload is None or not self._mesh.enable_auto_mtls:
            return False
        return self._peers.takes_tls(workload, endpoint.port)

    def _workload(self, proxy: Proxy, cluster: ClusterId) -> Workload | None:
        """The proxy's pod; noted, so that its changes find the proxy.

        It is found by its name, and by its address where nothing was proved, as the name may be made up then.
        """
        key = WorkloadKey(cluster, proxy.namespace, proxy.pod)
        workload = self._view.workload(key)
        if workload is None and proxy.identity is None:
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

    def _large_scope(self, key: Hashable, family: Callable[[], LargeFamily]) -> DerivedScope:
        """One that has something of every service, and is prepared before it is read where these are many."""
        scope = self._scopes.get(key)
        if scope is None:
            made = family()
            groundwork = made.groundwork if len(self._clusters.names()) > _FEW else None
            scope = self._scopes[key] = DerivedScope(key, (made,), self.counters, groundwork)
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

    def _note_assignments(self, key: ServiceKey, names: _Assigned) -> None:
        """Add those that the service has now."""
        for name, spec in self._clusters.by(key).items():
            if spec.kind is Kind.CLUSTER_IP:
                match spec.reach:
                    case Reach.MESH:
                        names.mesh.add(name)
                    case Reach.CLUSTER:
                        names.cluster.add(name)
                    case Reach.NODE:
                        names.node.add(name)

    def _forget_outbound(self, clusters: set[str], assignments: _Assigned) -> list[ScopeChange | None]:
        near = list(self._scopes) if assignments.cluster or assignments.node else []
        within = [key for key in near if isinstance(key, EndpointsKey) and key.cluster is not None]
        on_nodes = [key for key in near if isinstance(key, NodeEndpointsKey)]
        return [
            self._forget(ClustersKey(secured=True), {CLUSTER: clusters}),
            self._forget(ClustersKey(secured=False), {CLUSTER: clusters}),
            self._forget(EndpointsKey(), {ENDPOINT: assignments.mesh}),
            *(self._forget(key, {ENDPOINT: assignments.cluster}) for key in within),
            *(self._forget(key, {ENDPOINT: assignments.node}) for key in on_nodes),
        ]

    def _forget(self, key: Hashable, names: dict[str, set[str] | frozenset[str]]) -> ScopeChange | None:
        scope = self._scopes.get(key)
        changed = {type_url: some for type_url, some in names.items() if some}
        return scope.forget(changed) if scope is not None and changed else None
