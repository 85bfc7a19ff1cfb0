"""The joined view: what all clusters together say, and the feed of what changed in it."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

from isthmus.model.service import ClusterId, Network, Service, ServiceKey
from isthmus.model.workload import Endpoint, EndpointGroup, InboundPort, Locality, Workload, WorkloadKey

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Changes:
    """What one event changed, by name only: readers ask the view for the new state.

    `services`: shape changed (added, removed, ports, addresses). `endpoints`: only who stands behind it.
    `accounts`: the service accounts behind it changed, which is a part of the former that few changes have.
    `workloads`: a pod's own facts (labels, addresses, account) or the services that select it.
    A service in `services` need not be in `endpoints` to have its endpoints read anew.
    """

    services: frozenset[ServiceKey] = frozenset()
    endpoints: frozenset[ServiceKey] = frozenset()
    workloads: frozenset[WorkloadKey] = frozenset()
    accounts: frozenset[ServiceKey] = frozenset()

    def __len__(self) -> int:
        """Of how many services and pods it tells."""
        return len(self.services) + len(self.endpoints) + len(self.workloads)

    def parts(self, most: int) -> "Iterator[Changes]":
        """The same as several, each of `most` services or pods at most. What is said of one service may be
        said in two of them.
        """
        for some in _batched(self.services, most):
            yield Changes(services=some, accounts=self.accounts & some)
        for some in _batched(self.endpoints, most):
            yield Changes(endpoints=some, accounts=self.accounts & some)
        for pods in _batched(self.workloads, most):
            yield Changes(workloads=pods)


def _batched(items: frozenset[T], most: int) -> Iterator[frozenset[T]]:
    """Disjoint subsets of at most so many."""
    left = iter(items)
    while some := frozenset(islice(left, most)):
        yield some


class MeshView(Protocol):
    """The joined view over all clusters. Every answer is derived from the clusters' stores at the call."""

    def services(self) -> Collection[ServiceKey]:
        """All services that at least one cluster has."""
        ...

    def service(self, key: ServiceKey) -> Service | None:
        """The merged service, or None where no cluster has it."""
        ...

    def groups(self, key: ServiceKey) -> Mapping[int, Sequence[EndpointGroup]]:
        """Endpoints by service port number, over all clusters, in groups: by cluster, then by the names of
        their slices, then by (address, port). No address stands there twice within a network. A group that
        did not change is the same object.
        """
        ...

    def endpoints(self, key: ServiceKey) -> Mapping[int, Sequence[Endpoint]]:
        """The same without the groups; made at the call, so not for what happens at every change."""
        ...

    def workloads(self) -> Iterable[WorkloadKey]:
        """All living pods; live, so read it before you wait."""
        ...

    def accounts(self, key: ServiceKey) -> Collection[str]:
        """The service accounts of the pods behind a service, ready or not, over all clusters; in no order."""
        ...

    def workload(self, key: WorkloadKey) -> Workload | None:
        """The pod of that name, or None."""
        ...

    def workload_at(self, cluster: ClusterId, address: str) -> Workload | None:
        """The pod with that address in that cluster, or None."""
        ...

    def inbound_ports(self, workload: Workload) -> Sequence[InboundPort]:
        """Ports of the services in its own cluster and namespace that select this workload.

        Sorted by (target port, service, service port).
        """
        ...

    def placement(self, cluster: ClusterId) -> tuple[Network, Locality]:
        """The network of a cluster, and the locality of a pod there whose node is not known."""
        ...

    def subscribe(self, listener: Callable[[Changes], None]) -> AbstractContextManager[None]:
        """Call `listener` at once, on the event loop, for each change until the block ends."""
        ...
