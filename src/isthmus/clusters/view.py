"""The joined view over all clusters: remembers what it derived until exactly that changes.

A cluster is in the view as a whole or not at all: `hold` brings in a store that is already full, or puts it
in the place of the cluster's former one, and says once what differs. It does no I/O and starts nothing.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager

import structlog

from isthmus.clusters.difference import difference
from isthmus.clusters.draining import WHOLE
from isthmus.clusters.join import Double, Groups, flat, merge_service, union, without_doubles
from isthmus.clusters.standing import Standing, Worth
from isthmus.clusters.store import ClusterStore, Derivations
from isthmus.model.exports import ANNOTATION, ExportTo
from isthmus.model.service import ClusterId, Network, PortConflict, Service, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import Endpoint, InboundPort, Locality, Workload, WorkloadKey

_log = structlog.stdlib.get_logger(__name__)
_ALL = Worth()


class JoinedView:
    """`model.view.MeshView` over the clusters that have joined; `networks` are the mesh config's."""

    def __init__(self, networks: Mapping[ClusterId, Network]) -> None:
        self.derivations = Derivations()
        self._networks = networks
        self._stores: dict[ClusterId, ClusterStore] = {}
        self._clusters_of: dict[ServiceKey, set[ClusterId]] = {}
        self._services: dict[ServiceKey, Service] = {}
        self._groups: dict[ServiceKey, Groups] = {}
        self._conflicts: dict[ServiceKey, tuple[PortConflict, ...]] = {}
        self._doubles: dict[ServiceKey, frozenset[Double]] = {}
        self._exports: dict[ServiceKey, Mapping[ClusterId, ExportTo]] = {}
        self._worths: Mapping[ClusterId, Worth] = {}
        self._listeners: list[Callable[[Changes], None]] = []

    # Feeding it

    def new_store(self, cluster: ClusterId) -> ClusterStore:
        """An empty store for that cluster, not yet part of the view."""
        return ClusterStore(cluster, self._networks.get(cluster, Network("")), self.derivations)

    def hold(self, stores: Mapping[ClusterId, ClusterStore]) -> None:
        """Exactly these clusters are in the view from now on; all that this changes is told as one change."""
        before, self._stores = self._stores, dict(stores)
        parts = [
            (cluster, difference(before.get(cluster), stores.get(cluster)))
            for cluster in before.keys() | stores.keys()
            if before.get(cluster) is not stores.get(cluster)
        ]
        for cluster, changes in parts:
            for key in changes.services:
                self._count(cluster, key)
        first, *others = [changes for _, changes in parts] or [Changes()]
        self._publish(
            Changes(
                services=first.services.union(*(each.services for each in others)),
                endpoints=first.endpoints.union(*(each.endpoints for each in others)),
                workloads=first.workloads.union(*(each.workloads for each in others)),
                accounts=first.accounts.union(*(each.accounts for each in others)),
            )
        )

    def rate(self, worths: Mapping[ClusterId, Worth]) -> None:
        """What the clusters' endpoints are worth from now on; who is not named has all of it."""
        before, self._worths = self._worths, dict(worths)
        self._publish(
            Changes(
                endpoints=frozenset(
                    key
                    for cluster, store in self._stores.items()
                    if before.get(cluster, _ALL) != worths.get(cluster, _ALL)
                    for key in store.services
                )
            )
        )

    def changed(self, store: ClusterStore, changes: Changes) -> None:
        """A store has changed. One that is not in the view is still being filled: nobody is told."""
        if self._stores.get(store.cluster) is not store:
            return
        for key in changes.services:
            self._count(store.cluster, key)
        self._publish(changes)

    def _count(self, cluster: ClusterId, key: ServiceKey) -> None:
        """Note whether the cluster has that service now."""
        store = self._stores.get(cluster)
        clusters = self._clusters_of.setdefault(key, set())
        if store is not None and key in store.services:
            clusters.add(cluster)
        else:
            clusters.discard(cluster)
        if not clusters:
            del self._clusters_of[key]
            self._conflicts.pop(key, None)
            self._doubles.pop(key, None)
            self._exports.pop(key, None)

    def _publish(self, changes: Changes) -> None:
        if changes == Changes():
            return
        for key in changes.services:
            self._services.pop(key, None)
            self._groups.pop(key, None)
        for key in changes.endpoints:
            self._groups.pop(key, None)
        for listener in tuple(self._listeners):
            listener(changes)

    # Asking it: model.view.MeshView

    def services(self) -> Collection[ServiceKey]:
        """All services that at least one cluster has; live, so copy it before you wait."""
        return self._clusters_of.keys()

    def service(self, key: ServiceKey) -> Service | None:
        """The merged service, or None where no cluster has it."""
        known = self._services.get(key)
        if known is None:
            clusters = self._clusters_of.get(key)
            if clusters is None:
                return None
            parts = {cluster: self._stores[cluster].services[key] for cluster in clusters}
            known = self._services[key] = merge_service(key, parts)
            self.derivations.services += 1
            self._report_conflicts(known)
            self._report_exports(known)
        return known

    def _report_conflicts(self, service: Service) -> None:
        known = self._conflicts.get(service.key, ())
        for conflict in [conflict for conflict in service.conflicts if conflict not in known]:
            _log.warning(
                "clusters disagree on a port's protocol",
                service=service.key.hostname(),
                port=conflict.number,
                chosen=conflict.chosen.value,
                declared={cluster: protocol.value for cluster, protocol in conflict.declared.items()},
            )
        self._conflicts[service.key] = service.conflicts

    def _report_exports(self, service: Service) -> None:
        if service.exports and service.exports != self._exports.get(service.key):
            _log.warning(
                "clusters disagree on whose proxies are told of a service",
                service=service.key.hostname(),
                annotation=ANNOTATION,
                chosen=",".join(service.export_to),
                declared={cluster: ",".join(entries) for cluster, entries in service.exports.items()},
            )
        if service.exports:
            self._exports[service.key] = service.exports
        else:
            self._exports.pop(service.key, None)

    def endpoints(self, key: ServiceKey) -> Mapping[int, Sequence[Endpoint]]:
        """See `MeshView`."""
        return flat(self.groups(key))

    def groups(self, key: ServiceKey) -> Groups:
        """See `MeshView`."""
        known = self._groups.get(key)
        if known is None:
            clusters = self._clusters_of.get(key)
            if clusters is None:
                return {}
            # Weights tell only when some differ: all others keep their one.
            whole = 1 if all(self._worth(each).share in (0, WHOLE) for each in clusters) else WHOLE
            parts = [self._part(cluster, key, whole) for cluster in sorted(clusters)]
            if len(parts) > 1:
                known = self._once(key, union(parts))
            else:
                [known] = parts
                self._doubles.pop(key, None)
            self._groups[key] = known
            self.derivations.endpoints += 1
        return known

    def accounts(self, key: ServiceKey) -> Collection[str]:
        """The service accounts of the pods behind a service, over all clusters.

        A cluster that is stale counts whatever it is worth: its accounts are no reason to change clients.
        """
        clusters = self._clusters_of.get(key, ())
        return frozenset(account for each in clusters for account in self._stores[each].accounts(key))

    def _once(self, key: ServiceKey, groups: Groups) -> Groups:
        """Each address once a network; the clusters that claim it too are reported."""
        found = {number: without_doubles(some) for number, some in groups.items()}
        doubles = frozenset(double for _, some in found.values() for double in some)
        for double in doubles - self._doubles.get(key, frozenset()):
            _log.warning(
                "two clusters claim one address",
                service=key.hostname(),
                address=double.address,
                served=double.served,
                ignored=double.ignored,
            )
        if doubles:
            self._doubles[key] = doubles
        else:
            self._doubles.pop(key, None)
        return {number: some for number, (some, _) in found.items()}

    def doubles(self, cluster: ClusterId) -> Mapping[ServiceKey, Collection[Double]]:
        """What is not served of that cluster because another on its network claims the same address.

        Known of services whose endpoints somebody has asked for.
        """
        found = {
            key: [double for double in some if double.ignored == cluster]
            for key, some in self._doubles.items()
        }
        return {key: some for key, some in found.items() if some}

    def _worth(self, cluster: ClusterId) -> Worth:
        return self._worths.get(cluster, _ALL)

    def _part(self, cluster: ClusterId, key: ServiceKey, whole: int) -> Groups:
        """One cluster's endpoints of a service, for what they are worth: a whole share weighs `whole`.

        Of one that is stale they have priority 1, of one that is drained 2.
        """
        part, worth = self._stores[cluster].groups(key), self._worth(cluster)
        if worth.standing is Standing.NONE:
            return {}
        stale = worth.standing is Standing.SECOND
        priority = 2 if not worth.share else 1 if stale else 0
        weight = whole if worth.share in (0, WHOLE) else worth.share
        if (priority, weight) == (0, 1):
            return part
        return {
            number: tuple(group.weighed(priority, weight) for group in groups)
            for number, groups in part.items()
        }

    def workloads(self) -> Iterable[WorkloadKey]:
        """All living pods; live, so read it before you wait."""
        return (part.workload.key for store in self._stores.values() for part in store.pods.values())

    def workload(self, key: WorkloadKey) -> Workload | None:
        """The pod of that name, or None."""
        store = self._stores.get(key.cluster)
        return None if store is None else store.pod(key.namespace, key.name)

    def workload_at(self, cluster: ClusterId, address: str) -> Workload | None:
        """The pod with that address in that cluster, or None."""
        store = self._stores.get(cluster)
        return None if store is None else store.pod_at(address)

    def inbound_ports(self, workload: Workload) -> Sequence[InboundPort]:
        """Ports of the services in its own cluster and namespace that select this workload.

        A port's protocol is what that cluster's own Service declares, as its pods know best what they speak.
        """
        store = self._stores.get(workload.key.cluster)
        return () if store is None else store.inbound_ports(workload)

    def placement(self, cluster: ClusterId) -> tuple[Network, Locality]:
        """The network of a cluster, and the locality of a pod there whose node is not known."""
        store = self._stores.get(cluster)
        network = self._networks.get(cluster, Network("")) if store is None else store.network
        return network, Locality()

    @contextmanager
    def subscribe(self, listener: Callable[[Changes], None]) -> Generator[None]:
        """Call `listener` at once, on the event loop, for each change until the block ends."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
