"""The families of resources that scopes are made of: each joins an index of names to a pure derivation."""

from collections.abc import Callable, Collection, Iterator
from typing import Protocol
from weakref import WeakKeyDictionary

from isthmus.config.accepted_tls import AcceptedTls
from isthmus.config.mesh import MeshConfig
from isthmus.lib.protobuf_template import Templates
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus.model.service import ClusterId, Kind, ServiceKey
from isthmus.model.view import MeshView
from isthmus.model.workload import Endpoint, EndpointGroup
from isthmus.translate import clusters, inbound, listeners, names, routes
from isthmus.translate.endpoints import Encoded, Zone, encoded, load_assignment
from isthmus.translate.exports import Reading, Seen
from isthmus.translate.inbound import OwnPort
from isthmus.translate.policy_checks import PolicyCheck
from isthmus.translate.scope import Counters, Family
from isthmus.translate.vantage import Vantage
from isthmus.translate.wire import serialise


class LargeFamily(Family, Protocol):
    """One whose number of resources grows with the mesh."""

    def groundwork(self) -> Iterator[None]:
        """Make what several resources need, a little at each step; read before that is done, they make it."""
        ...


_FIXED_CLUSTERS = {
    names.PASSTHROUGH_CLUSTER: clusters.passthrough_cluster,
    names.BLACK_HOLE_CLUSTER: clusters.black_hole_cluster,
    names.INBOUND_PASSTHROUGH_CLUSTER: clusters.inbound_passthrough_cluster,
}


class OutboundClusters:
    """Clusters of services, and the `fixed` ones. The same for every proxy that is as `secured`; `templates`
    are those of all such families.
    """

    type_url = CLUSTER

    def __init__(
        self,
        claims: Reading[clusters.ClusterSpec],
        mesh: MeshConfig,
        templates: Templates,
        *,
        secured: bool,
        fixed: bool,
    ) -> None:
        self._claims = claims
        self._mesh = mesh
        self._secured = secured
        self._templates = templates
        self._fixed = _FIXED_CLUSTERS if fixed else {}

    def names(self) -> Collection[str]:
        """One for each port of each service, and the fixed ones."""
        return {*self._fixed, *self._claims.names()}

    def groundwork(self) -> Iterator[None]:
        """Nothing."""
        return iter(())

    def has(self, name: str) -> bool:
        """Whether there is such a cluster."""
        return name in self._fixed or bool(self._claims.on(name))

    def body(self, name: str) -> bytes:
        """The named cluster."""
        if name in self._fixed:
            return serialise(self._fixed[name](self._mesh))
        [spec] = self._claims.on(name).values()
        return clusters.encoded_cluster(spec, self._mesh, secured=self._secured, templates=self._templates)


class Assignments:
    """Endpoints of the services that have virtual addresses and that `reach`. Those of the mesh are the same
    for all proxies, others for the proxies of a `zone`, a `cluster`, or a `node` of it. `encoding` is shared.
    """

    type_url = ENDPOINT

    def __init__(
        self,
        claims: Reading[clusters.ClusterSpec],
        view: MeshView,
        encoding: "Encoding",
        *,
        reach: clusters.Reach = clusters.Reach.MESH,
        zone: Zone | None = None,
        cluster: ClusterId | None = None,
        node: str = "",
    ) -> None:
        self._claims = claims
        self._view = view
        self._encoding = encoding
        self._reach = reach
        self._zone = zone
        self._cluster = cluster
        self._node = node

    def names(self) -> Collection[str]:
        """The clusters that ask for their endpoints by EDS."""
        return [name for name in self._claims.names() if self.has(name)]

    def groundwork(self) -> Iterator[None]:
        """Nothing."""
        return iter(())

    def has(self, name: str) -> bool:
        """Whether there is such a cluster, and it asks."""
        for spec in self._claims.on(name).values():
            return spec.kind is Kind.CLUSTER_IP and spec.reach is self._reach
        return False

    def body(self, name: str) -> bytes:
        """Who stands behind the named cluster."""
        [(service, spec)] = self._claims.on(name).items()
        groups = self._view.groups(service).get(spec.port, ())
        if self._reach in (clusters.Reach.CLUSTER, clusters.Reach.NODE):
            groups = (EndpointGroup(filter(self._is_near, (e for group in groups for e in group.endpoints))),)
        encoding = self._encoding
        encode = encoding.make if len(groups) == 1 else encoding.remember
        return load_assignment(name, groups, encode, self._zone)

    def _is_near(self, endpoint: Endpoint) -> bool:
        if endpoint.cluster != self._cluster:
            return False
        workload = endpoint.workload
        return self._reach is clusters.Reach.CLUSTER or (
            workload is not None and workload.node != "" and workload.node == self._node
        )


class Encoding:
    """Groups of endpoints as parts of assignments, whoever these are for."""

    def __init__(self, takes_tls: Callable[[Endpoint], bool]) -> None:
        self._takes_tls = takes_tls
        self._made: WeakKeyDictionary[EndpointGroup, Encoded] = WeakKeyDictionary()

    def make(self, group: EndpointGroup, mark_draining: bool) -> Encoded:
        """Encode it."""
        return encoded(group, self._takes_tls, mark_draining=mark_draining)

    def remember(self, group: EndpointGroup, mark_draining: bool) -> Encoded:
        """The same; of a service of many groups, most are as before when it changes."""
        if not mark_draining:
            return self.make(group, False)
        known = self._made.get(group)
        if known is None:
            known = self._made[group] = self.make(group, True)
        return known

    def forget(self) -> None:
        """Which endpoints take mutual TLS changed."""
        self._made.clear()


class OutboundListeners:
    """`virtualOutbound` and the listeners behind it, for proxies of one cluster; with a `namespace` the
    restricted ones alone that it sees. `templates` are those of all such families.

    It keeps the vantage alive.
    """

    type_url = LISTENER

    def __init__(
        self, vantage: Vantage, mesh: MeshConfig, templates: Templates, *, ipv6: bool, namespace: str
    ) -> None:
        self._vantage = vantage
        self._mesh = mesh
        self._ipv6 = ipv6
        self._namespace = namespace
        self._fixed = () if namespace else (names.VIRTUAL_OUTBOUND,)
        self._templates = templates

    def _claims(self) -> Reading[listeners.ListenerSpec]:
        claims, namespace = self._vantage.listeners, self._namespace
        return claims.restricted_to(namespace) if namespace else claims.for_all

    def names(self) -> Collection[str]:
        """Every address and port that some service claims."""
        return {*self._fixed, *self._claims().names()}

    def groundwork(self) -> Iterator[None]:
        """Services as they are seen from the cluster."""
        return self._vantage.filling()

    def has(self, name: str) -> bool:
        """Whether there is such a listener."""
        return name in self._fixed or bool(self._claims().on(name))

    def body(self, name: str) -> bytes:
        """The named listener; where two services claim an address, the first by name has it."""
        spec = self._claims().winner(name)
        if spec is None:
            return serialise(listeners.virtual_outbound(self._mesh, ipv6=self._ipv6))
        return listeners.encoded_listener(spec, self._mesh, self._templates, ipv6=self._ipv6)


class VirtualHosts:
    """Virtual hosts by service, serialised once for proxies in its namespace and once for all others."""

    def __init__(self, counters: Counters) -> None:
        self.templates = Templates()
        self._counters = counters
        self._made: dict[ServiceKey, dict[tuple[routes.VirtualHostSpec, bool], bytes]] = {}

    def get(self, spec: routes.VirtualHostSpec, *, same_namespace: bool) -> bytes:
        """The virtual host as a part of a RouteConfiguration."""
        made = self._made.get(spec.service)
        if made is None:
            made = self._made[spec.service] = {}
        key = (spec, same_namespace)
        known = made.get(key)
        if known is None:
            hosts = routes.domains(spec, same_namespace=same_namespace)
            known = made[key] = routes.virtual_host(spec, hosts, self.templates)
            self._counters.serialisations += 1
        return known

    def forget(self, service: ServiceKey) -> None:
        """Its shape changed."""
        self._made.pop(service, None)


class OutboundRoutes:
    """Route configurations for proxies of one cluster and namespace. It keeps the vantage alive."""

    type_url = ROUTE

    def __init__(self, vantage: Vantage, namespace: str, hosts: VirtualHosts, mesh: MeshConfig) -> None:
        self._vantage = vantage
        self._namespace = namespace
        self._hosts = hosts
        self._mesh = mesh

    def _claims(self) -> Seen[routes.VirtualHostSpec]:
        return self._vantage.routes.seen_from(self._namespace)

    def names(self) -> Collection[str]:
        """Every port number that may carry HTTP, and every sniffed port by its service."""
        return self._claims().names()

    def groundwork(self) -> Iterator[None]:
        """Services as they are seen from the cluster, and their virtual hosts."""
        yield from self._vantage.filling()
        for name in tuple(self.names()):
            if name.isdigit():
                for _ in self._virtual_hosts(name):
                    yield

    def has(self, name: str) -> bool:
        """Whether there is such a configuration."""
        return bool(self._claims().on(name))

    def body(self, name: str) -> bytes:
        """The named route configuration."""
        if not name.isdigit():
            [spec] = self._claims().on(name).values()
            return routes.service_routes(name, spec, self._hosts.templates)
        return routes.port_routes(name, self._virtual_hosts(name), self._mesh)

    def _virtual_hosts(self, name: str) -> Iterator[bytes]:
        taken: set[str] = set()
        claims, namespace = self._claims(), self._namespace
        for service in tuple(claims.ordered(name)):
            spec = claims.of(name, service)
            if spec is None:
                continue  # Gone since the first of these was asked for.
            addresses = spec.addresses
            if not taken.isdisjoint(addresses):
                spec = routes.without_addresses(spec, taken)
            taken.update(addresses)
            yield self._hosts.get(spec, same_namespace=service.namespace == namespace)


class InboundClusters:
    """The clusters of one set of own ports."""

    type_url = CLUSTER

    def __init__(self, ports: tuple[OwnPort, ...], mesh: MeshConfig) -> None:
        self._ports = {names.inbound_cluster(port.number): port for port in ports}
        self._mesh = mesh

    def names(self) -> Collection[str]:
        """One a port."""
        return self._ports.keys()

    def has(self, name: str) -> bool:
        """Whether there is such a cluster."""
        return name in self._ports

    def body(self, name: str) -> bytes:
        """The named cluster."""
        port = self._ports[name]
        return serialise(clusters.inbound_cluster(port.number, port.protocol, self._mesh))


class InboundListener:
    """`virtualInbound` for one set of own ports, what they accept, and what they ask the policy server."""

    type_url = LISTENER

    def __init__(
        self,
        ports: tuple[OwnPort, ...],
        accepted: AcceptedTls,
        mesh: MeshConfig,
        *,
        secured: bool,
        check: PolicyCheck | None,
        ipv6: bool,
    ) -> None:
        self._ports = ports
        self._accepted = accepted
        self._mesh = mesh
        self._secured = secured
        self._check = check
        self._ipv6 = ipv6

    def names(self) -> Collection[str]:
        """The one."""
        return (names.VIRTUAL_INBOUND,)

    def has(self, name: str) -> bool:
        """Whether it is the one."""
        return name == names.VIRTUAL_INBOUND

    def body(self, name: str) -> bytes:
        """`virtualInbound`."""
        return serialise(
            inbound.virtual_inbound(
                self._ports,
                self._accepted,
                self._mesh,
                secured=self._secured,
                check=self._check,
                ipv6=self._ipv6,
            )
        )
