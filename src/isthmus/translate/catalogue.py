"""The catalogue: for each proxy the scopes it is served from, and for each change the names that it touches.

Nothing is derived here; that happens in the scopes, for names that somebody asks for. A scope is shared by
all proxies for which its key is equal, and lives for as long as one of them holds it: the catalogue itself
keeps only weak references to scopes and to the indexes that only they need.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from weakref import WeakValueDictionary

from isthmus.config.accepted_tls import PeerAuthentications
from isthmus.config.cluster_local import ClusterLocalServices
from isthmus.config.mesh import MeshConfig
from isthmus.config.policy import POLICY
from isthmus.config.policy_scope import Policies
from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref
from isthmus.lib.protobuf_template import Templates
from isthmus.model.exports import Audience
from isthmus.model.proxy import Proxy
from isthmus.model.resources import Scope, ScopeChange
from isthmus.model.service import ClusterId, Kind, Service, ServiceKey
from isthmus.model.view import Changes, MeshView
from isthmus.model.workload import Endpoint, Workload, WorkloadKey
from isthmus.translate.askers import Askers
from isthmus.translate.clusters import ClusterSpec, Reach, cluster_specs
from isthmus.translate.endpoints import Zone
from isthmus.translate.exports import ExportedClaims, Exports, Reading
from isthmus.translate.families import (
    Assignments,
    Encoding,
    InboundClusters,
    InboundListener,
    LargeFamily,
    OutboundClusters,
    OutboundListeners,
    OutboundRoutes,
    VirtualHosts,
)
from isthmus.translate.inbound import own_ports
from isthmus.translate.name_table import NameTable, TableEntries
from isthmus.translate.policy_checks import policy_check
from isthmus.translate.scope import Counters, DerivedScope, Family, Seen
from isthmus.translate.scope_keys import (
    ClustersKey,
    EndpointsKey,
    InboundKey,
    ListenersKey,
    NearKey,
    NodeEndpointsKey,
    RoutesKey,
    ZoneEndpointsKey,
)
from isthmus.translate.touched import Touched
from isthmus.translate.vantage import Vantage, dialled_endpoints
from isthmus.translate.whereabouts import Whereabouts

_HOME = ClusterId("Kubernetes")
_FEW = 100
"""Outbound clusters whose resources are derived in some milliseconds."""
_MOST_UNKNOWN = 100_000
"""Pods waited for; proxies that invent pods push out only each other."""


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
        self._exports = Exports(mesh.default_service_export_to, always=mesh.policy_server[0])
        self._clusters: ExportedClaims[ClusterSpec] = ExportedClaims(self._exports)
        self._local = ClusterLocalServices(mesh.service_settings)
        self._encoding = Encoding(self._takes_tls)
        self._cluster_templates = {secured: Templates() for secured in (True, False)}
        self._listener_templates = Templates()
        self._hosts = VirtualHosts(self.counters)
        self._askers = Askers()
        self._strangers = Askers(_MOST_UNKNOWN)
        self._vantages: WeakValueDictionary[ClusterId, Vantage] = WeakValueDictionary()
        self._table_entries: WeakValueDictionary[ClusterId, TableEntries] = WeakValueDictionary()
        self._scopes: WeakValueDictionary[Hashable, DerivedScope] = WeakValueDictionary()
        self._seen: WeakValueDictionary[Hashable, Seen] = WeakValueDictionary()
        self._whereabouts = Whereabouts(view)
        for key in view.services():
            self._exports.note(key, view.service(key))
            self._clusters.replace(key, self._cluster_specs(key))
            self._note_reach(key)
        self._whereabouts.turned = False
        self._exports.turned.clear()

    def scopes(self, proxy: Proxy) -> Sequence[Scope]:
        """The scopes whose union is the proxy's configuration: one object for proxies that are alike, for as
        long as somebody keeps it.

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
        node, zone = self._whereabouts.of(cluster, workload)
        sees_more = namespace if self._exports.restricted_to(namespace) else ""
        inbound = InboundKey(ports, accepted, secured, check, ipv6)
        kind = (cluster, namespace, inbound, node, zone, sees_more)
        found = self._seen.get(kind)
        if found is None:
            found = self._seen[kind] = Seen(self._scopes_of(*kind))
        return found

    def _scopes_of(
        self,
        cluster: ClusterId,
        namespace: str,
        inbound: InboundKey,
        node: str | None,
        zone: Zone | None,
        sees_more: str,
    ) -> Iterator[Scope]:
        vantage = self._vantages.get(cluster)
        if vantage is None:
            vantage = self._vantages[cluster] = Vantage(cluster, self._view, self._exports)
        ports, accepted, secured, check, ipv6 = inbound
        yield from self._outbound(vantage, "", secured=secured, ipv6=ipv6)
        yield self._large_scope(
            RoutesKey(cluster, namespace),
            lambda: OutboundRoutes(vantage, namespace, self._hosts, self._mesh),
        )
        yield self._scope(
            inbound,
            lambda: (
                InboundClusters(ports, self._mesh),
                InboundListener(ports, accepted, self._mesh, secured=secured, check=check, ipv6=ipv6),
            ),
        )
        yield self._scope(
            NearKey(cluster, sees_more),
            lambda: (
                self._assignments_within(Reach.CLUSTER, sees_more, cluster=cluster),
                NameTable(self._entries_of(cluster), self._exports, sees_more),
            ),
        )
        if zone is not None:
            yield self._scope(
                ZoneEndpointsKey(zone, sees_more),
                lambda: (self._assignments_within(Reach.ZONE, sees_more, zone=zone),),
            )
        if node is not None:
            yield self._scope(
                NodeEndpointsKey(cluster, node, sees_more),
                lambda: (self._assignments_within(Reach.NODE, sees_more, cluster=cluster, node=node),),
            )
        if sees_more:
            yield from self._outbound(vantage, sees_more, secured=secured, ipv6=ipv6)

    def _outbound(
        self, vantage: Vantage, namespace: str, *, secured: bool, ipv6: bool
    ) -> tuple[Scope, Scope, Scope]:
        """Clusters, endpoints and listeners of what is for all, or of what is not and a namespace sees."""
        claims = self._clusters.restricted_to(namespace) if namespace else self._clusters.for_all
        return (
            self._large_scope(
                ClustersKey(secured, namespace),
                lambda: OutboundClusters(
                    claims,
                    self._mesh,
                    self._cluster_templates[secured],
                    secured=secured,
                    fixed=not namespace,
                ),
                claims,
            ),
            self._large_scope(
                EndpointsKey(namespace), lambda: Assignments(claims, self._view, self._encoding), claims
            ),
            self._large_scope(
                ListenersKey(vantage.cluster, ipv6, namespace),
                lambda: OutboundListeners(
                    vantage, self._mesh, self._listener_templates, ipv6=ipv6, namespace=namespace
                ),
                claims,
            ),
        )

    def _entries_of(self, cluster: ClusterId) -> TableEntries:
        entries = self._table_entries.get(cluster)
        if entries is None:
            entries = self._table_entries[cluster] = TableEntries(self._view, cluster, self._local)
        return entries

    def apply(self, changes: Changes) -> list[ScopeChange]:
        """Forget what changed and say which names these are, in the scopes that somebody holds.

        To be called once for each of the view's changes, in their order.
        """
        touched = Touched()
        for key in changes.services | changes.endpoints:
            shape = key in changes.services
            together = not self._serves(key)
            audience = self._exports.audience(key)
            if shape:
                touched.note_assignments(audience, self._clusters.by(key))
                self._hosts.forget(key)
                self._note_reach(key)
                audience = self._exports.note(key, self._view.service(key))
            if shape or key in changes.accounts or together:
                touched.note_clusters(audience, self._clusters.replace(key, self._cluster_specs(key)))
            touched.note_assignments(audience, self._clusters.by(key))
            if shape or together:
                self._revise_vantages(key, audience, touched)
                touched.tables.update(audience)
                for entries in list(self._table_entries.values()):
                    entries.forget((key,))
        return touched.forgotten(self._scopes)

    def peers_changed(self, ref: Ref) -> list[ScopeChange]:
        """Forget what depends on that PeerAuthentication; `rescoped_by` names the proxies that do.

        Most assignments will be as before, which is noticed as they are read.
        """
        self._encoding.forget()
        touched = Touched()
        for key in self._view.services():
            if self._peers.concerns(ref, key.namespace):
                audience = self._exports.audience(key)
                touched.note_assignments(audience, self._clusters.by(key))
                if not self._serves(key):
                    touched.note_clusters(audience, self._clusters.replace(key, self._cluster_specs(key)))
        return touched.forgotten(self._scopes)

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
        the cluster comes back. All are named when the first service came whose endpoints depend on a proxy's
        node, or on its zone, or the last went, and those of a namespace when that is so with restricted
        services that it sees.
        """
        if self._whereabouts.turned:
            self._whereabouts.turned = False
            self._exports.turned.clear()
            return self._asking_within(lambda namespace: True)
        turned = self._exports.turned
        found = self._asking_within(turned.__contains__) if turned else set[str]()
        turned.clear()
        subjects: list[Hashable] = []
        for key in changes.workloads:
            workload = self._view.workload(key)
            if workload is None:
                for node_id in self._askers.take((key,)):
                    self._strangers.note(key, node_id)
                continue
            subjects.append(key)
            subjects.extend((key.cluster, address) for address in workload.addresses)
        return found | self._asking(subjects)

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

    def _assignments_within(
        self,
        reach: Reach,
        namespace: str,
        *,
        zone: Zone | None = None,
        cluster: ClusterId | None = None,
        node: str = "",
    ) -> Assignments:
        claims = self._clusters.seen_from(namespace)
        return Assignments(
            claims, self._view, self._encoding, reach=reach, zone=zone, cluster=cluster, node=node
        )

    def _serves(self, service: ServiceKey) -> bool:
        """Whether the service's endpoints are asked for by EDS and found in nothing else."""
        return any(spec.kind is Kind.CLUSTER_IP for spec in self._clusters.by(service).values())

    def _note_reach(self, key: ServiceKey) -> None:
        service = self._view.service(key)
        self._whereabouts.note(key, None if service is None else self._reach_of(service))

    def _reach_of(self, service: Service) -> Reach:
        if service.node_local:
            return Reach.NODE
        if service.key in self._local:
            return Reach.CLUSTER
        return Reach.ZONE if service.same_zone else Reach.MESH

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

    def _large_scope(
        self,
        key: Hashable,
        family: Callable[[], LargeFamily],
        claims: Reading[ClusterSpec] | None = None,
    ) -> DerivedScope:
        """One that has something of every service that `claims`, of all those for all where it is None. It is
        prepared before it is read where these are many.
        """
        scope = self._scopes.get(key)
        if scope is None:
            made = family()
            groundwork = made.groundwork if len((claims or self._clusters.for_all).names()) > _FEW else None
            scope = self._scopes[key] = DerivedScope(key, (made,), self.counters, groundwork)
        return scope

    def _revise_vantages(self, key: ServiceKey, audience: Audience, touched: Touched) -> None:
        if not self._vantages:
            return
        service = self._view.service(key)
        dialled = dialled_endpoints(self._view, service)
        for cluster, vantage in list(self._vantages.items()):
            touched.note_vantage(cluster, vantage.replace(key, service, dialled, audience))
