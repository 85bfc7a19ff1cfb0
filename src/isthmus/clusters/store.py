"""One cluster's state, fed part by part; each change answers which names it touched.

Cost follows the change: whom a pod, node or service concerns is read from indexes, never searched for.
It knows nothing of other clusters, of Kubernetes objects, or of time.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from isthmus.clusters.accounts import Accounts
from isthmus.clusters.join import Derived, Groups, derive_endpoints, flat, unite_slices
from isthmus.clusters.parts import PodPart, ServicePart, SlicePart
from isthmus.clusters.pods import Pods
from isthmus.clusters.selection import Selection
from isthmus.clusters.slices import Slices, places
from isthmus.kube.decoding import Ref
from isthmus.model.service import ClusterId, Kind, Network, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import Endpoint, InboundPort, Locality, Workload, WorkloadKey

_NOTHING = Changes()
_NOWHERE = Locality()
NETWORK_LABEL = "topology.istio.io/network"


@dataclass(slots=True)
class Derivations:
    """How often something was derived anew: an endpoint change costs one of each of the latter two."""

    services: int = 0
    endpoints: int = 0
    cluster_endpoints: int = 0


class ClusterStore:
    """Services, their backends, pods, nodes and the network of one cluster.

    `put_…` and `drop_…` answer with what they changed, `Changes()` where nothing that the mesh uses did.
    `network` is the one that holds while the cluster itself names none.
    """

    def __init__(self, cluster: ClusterId, network: Network, derivations: Derivations) -> None:
        self.cluster = cluster
        self.identity = ""
        """The UID of its namespace `kube-system`: which cluster it is under any name; "" if not known."""
        self._derivations = derivations
        self._default_network = network
        self._network = network
        self._services: dict[ServiceKey, ServicePart] = {}
        self._slices = Slices()
        self._selection = Selection()
        self._pods = Pods(self._selection)
        self._nodes: dict[str, Locality] = {}
        self._accounts = Accounts()
        self._groups: dict[ServiceKey, Groups] = {}
        self._derived: dict[Ref, Derived] = {}

    # What is known

    @property
    def network(self) -> Network:
        """Where its pods are that carry no network label of their own."""
        return self._network

    @property
    def services(self) -> Mapping[ServiceKey, ServicePart]:
        """Its Services."""
        return self._services

    @property
    def slices(self) -> Mapping[Ref, SlicePart]:
        """Its EndpointSlices (or Endpoints) that belong to a service name."""
        return self._slices.parts

    @property
    def pods(self) -> Mapping[Ref, PodPart]:
        """Its living Pods."""
        return self._pods.parts

    @property
    def nodes(self) -> Mapping[str, Locality]:
        """Its Nodes."""
        return self._nodes

    def pod(self, namespace: str, name: str) -> Workload | None:
        """The pod of that name, or None."""
        part = self._pods.parts.get(Ref(namespace, name))
        return None if part is None else part.workload

    def pod_at(self, address: str) -> Workload | None:
        """The pod with that address, or None. Should several claim it, the first by name."""
        at = self._pods.at(address)
        return self._pods.parts[min(at)].workload if at else None

    def locality(self, node: str) -> Locality:
        """Where a node stands, as far as it is known."""
        return self._nodes.get(node, _NOWHERE)

    def slices_of(self, key: ServiceKey) -> list[SlicePart]:
        """The slices of a service name, whether or not there is such a Service; by their own names."""
        return [self._slices.parts[name] for name in self._slices.of_service(key)]

    def groups(self, key: ServiceKey) -> Groups:
        """The cluster's endpoints of a service by service port, remembered until one of them changes."""
        known = self._groups.get(key)
        if known is None:
            part = self._services.get(key)
            if part is None:
                return {}
            pieces = [self._derived_of(part, name) for name in self._slices.of_service(key)]
            known = self._groups[key] = unite_slices(pieces)
            self._derivations.cluster_endpoints += 1
        return known

    def endpoints(self, key: ServiceKey) -> Mapping[int, Sequence[Endpoint]]:
        """The same without groups."""
        return flat(self.groups(key))

    def accounts(self, key: ServiceKey) -> Collection[str]:
        """The service accounts of the pods behind a service."""
        return self._accounts.of(key)

    def _derived_of(self, part: ServicePart, name: Ref) -> Derived:
        """What one slice adds, remembered on its own: of a large service one slice changes at a time."""
        known = self._derived.get(name)
        if known is None:
            known = self._derived[name] = derive_endpoints(part, self._slices.parts[name], self)
        return known

    def inbound_ports(self, workload: Workload) -> list[InboundPort]:
        """The service ports that end at a pod of this cluster, by (target port, service, service port)."""
        pod = self._pods.parts.get(Ref(workload.key.namespace, workload.key.name))
        named = dict(pod.ports) if pod is not None else {}
        ports = [
            InboundPort(key, port.number, target, port.name, port.protocol)
            for key in self._selection.services(workload.key.namespace, workload.labels)
            for port in self._services[key].ports
            if (target := named.get(port.target) if isinstance(port.target, str) else port.target)
        ]
        return sorted(ports, key=lambda port: (port.target_port, port.service, port.service_port))

    # Services

    def put_service(self, part: ServicePart) -> Changes:
        """A Service was added or changed."""
        old = self._services.get(part.key)
        if part == old:
            return _NOTHING
        self._services[part.key] = part
        return self._service_changed(part.key, old, part)

    def drop_service(self, key: ServiceKey) -> Changes:
        """A Service is gone. Its slices may outlive it, and serve again if it returns."""
        old = self._services.pop(key, None)
        return _NOTHING if old is None else self._service_changed(key, old, None)

    def _service_changed(self, key: ServiceKey, old: ServicePart | None, new: ServicePart | None) -> Changes:
        if new is None:
            self._selection.drop_service(key)
        else:
            self._selection.put_service(key, new.selector)
        selected: set[Ref] = set()
        if _inbound(old) != _inbound(new):
            for part in (old, new):
                selected.update(self._selection.pods(key.namespace, part.selector) if part else ())
        changes = Changes(
            services=frozenset({key} if _shape(old) != _shape(new) else ()),
            endpoints=frozenset({key} if _matching(old) != _matching(new) else ()),
            workloads=self._keys(selected),
        )
        for each in changes.endpoints:
            self._forget_derived(self._slices.of_service(each))
        self._forget(changes.endpoints)
        return changes

    # Who stands behind them

    def put_slice(self, name: Ref, part: SlicePart) -> Changes:
        """An EndpointSlice or Endpoints was added or changed."""
        old = self._slices.parts.get(name)
        if part == old:
            return _NOTHING
        self._slices.put(name, part)
        self._forget_derived((name,))
        services = {part.service} if old is None else {old.service, part.service}
        return Changes(endpoints=self._forget_known(services), accounts=self._accounts_changed((name,)))

    def drop_slice(self, name: Ref) -> Changes:
        """An EndpointSlice or Endpoints is gone."""
        old = self._slices.drop(name)
        if old is None:
            return _NOTHING
        self._forget_derived((name,))
        accounts = self._known(self._accounts.note(name, old.service, frozenset()))
        return Changes(endpoints=self._forget_known((old.service,)), accounts=accounts)

    # Pods, nodes, network

    def put_pod(self, part: PodPart) -> Changes:
        """A Pod was added or changed."""
        name = _name_of(part)
        part = self._placed(part)
        if part == self._pods.parts.get(name):
            return _NOTHING
        self._pods.put(name, part)
        return self._pods_changed({name})

    def drop_pod(self, name: Ref) -> Changes:
        """A Pod is gone, or has run to its end."""
        return self._pods_changed({name}) if self._pods.drop(name) else _NOTHING

    def put_node(self, name: str, locality: Locality) -> Changes:
        """A Node was added or its place changed."""
        old = self.locality(name)
        self._nodes[name] = locality
        return _NOTHING if locality == old else self._node_changed(name)

    def drop_node(self, name: str) -> Changes:
        """A Node is gone."""
        old = self._nodes.pop(name, _NOWHERE)
        return _NOTHING if old == _NOWHERE else self._node_changed(name)

    def _node_changed(self, name: str) -> Changes:
        moved = self._replace_pods(self._pods.on_node(name))
        return self._pods_changed(moved, slices=self._slices.on_node(name))

    def put_network(self, network: Network | None) -> Changes:
        """The cluster's network label was set or, with None, is gone: every pod without its own follows."""
        network = self._default_network if network is None else network
        if network == self._network:
            return _NOTHING
        self._network = network
        return self._pods_changed(self._replace_pods(self._pods.parts), slices=self._slices.parts)

    def _placed(self, part: PodPart) -> PodPart:
        network = part.workload.labels.get(NETWORK_LABEL)
        locality = self.locality(part.node)
        own = self._network if network is None else Network(network)
        placed = replace(part.workload, network=own, locality=locality, node=part.node)
        return replace(part, workload=placed)

    def _replace_pods(self, names: Iterable[Ref]) -> set[Ref]:
        """Place these pods anew; answers those that moved."""
        moved: set[Ref] = set()
        for name in names:
            old = self._pods.parts[name]
            new = self._placed(old)
            if new != old:
                self._pods.replace(name, new)
                moved.add(name)
        return moved

    # What a change touches

    def _keys(self, pods: Iterable[Ref]) -> frozenset[WorkloadKey]:
        return frozenset(WorkloadKey(self.cluster, *pod) for pod in pods)

    def _pods_changed(self, pods: set[Ref], slices: Iterable[Ref] = ()) -> Changes:
        touched = {name for pod in pods for name in self._slices.of_pod(pod)}.union(slices)
        self._forget_derived(touched)
        services = {self._slices.parts[name].service for name in touched}
        return Changes(
            endpoints=self._forget_known(services),
            workloads=self._keys(pods),
            accounts=self._accounts_changed(touched),
        )

    def _accounts_changed(self, slices: Iterable[Ref]) -> frozenset[ServiceKey]:
        """Count anew whose pods these slices name; the services for which that differs."""
        changed: set[ServiceKey] = set()
        for name in slices:
            part = self._slices.parts[name]
            pods = (self.pod(name.namespace, pod) for pod in places(part)[0])
            accounts = frozenset(pod.service_account for pod in pods if pod is not None)
            changed |= self._accounts.note(name, part.service, accounts)
        return self._known(changed)

    def _known(self, services: Iterable[ServiceKey]) -> frozenset[ServiceKey]:
        """Slices of a service that this cluster does not have change nothing."""
        return frozenset(key for key in services if key in self._services)

    def _forget_known(self, services: Iterable[ServiceKey]) -> frozenset[ServiceKey]:
        known = self._known(services)
        self._forget(known)
        return known

    def _forget_derived(self, slices: Iterable[Ref]) -> None:
        for name in slices:
            self._derived.pop(name, None)

    def _forget(self, services: Iterable[ServiceKey]) -> None:
        for key in services:
            self._groups.pop(key, None)


def _shape(part: ServicePart | None) -> object:
    """What of a Service shows in the merged one."""
    if part is None:
        return None
    ports = [(port.number, port.name, port.protocol) for port in part.ports]
    nearness = part.node_local, part.same_zone
    return part.kind, ports, part.addresses, part.external_name, nearness, part.export_to


def _matching(part: ServicePart | None) -> object:
    """What of a Service decides which of its slices' addresses become endpoints."""
    if part is None:
        return None
    ports = [(port.number, port.name) for port in part.ports]
    return part.kind is Kind.EXTERNAL_NAME, ports, part.publish_not_ready


def _inbound(part: ServicePart | None) -> object:
    """What of a Service the pods see that it selects."""
    return part and (part.selector, part.ports)


def _name_of(part: PodPart) -> Ref:
    return Ref(part.workload.key.namespace, part.workload.key.name)
