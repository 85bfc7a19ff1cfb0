"""What differs between two stores of one cluster, so that a new client's store takes over unnoticed.

It compares what readers would see, so its cost is the cluster's; it is asked only as a store joins or leaves.
"""

from isthmus.clusters.store import ClusterStore
from isthmus.kube.decoding import Ref
from isthmus.model.view import Changes
from isthmus.model.workload import WorkloadKey


def difference(old: ClusterStore | None, new: ClusterStore | None) -> Changes:
    """Everything that readers must ask anew once `new` stands where `old` stood; None is no cluster.

    Equal content gives `Changes()`.
    """
    if old is None or new is None:
        there = old or new
        return Changes() if there is None else everything(there)
    services = frozenset(
        key
        for key in old.services.keys() | new.services.keys()
        if old.services.get(key) != new.services.get(key)
    )
    alike = new.services.keys() - services
    accounts = frozenset(key for key in alike if set(old.accounts(key)) != set(new.accounts(key)))
    endpoints = accounts | {key for key in alike if old.endpoints(key) != new.endpoints(key)}
    namespaces = {key.namespace for key in services}
    pods = {
        name
        for name in old.pods.keys() | new.pods.keys()
        if old.pods.get(name) != new.pods.get(name)
        or (name.namespace in namespaces and _inbound_differs(name, old, new))
    }
    return Changes(services, endpoints, frozenset(WorkloadKey(new.cluster, *name) for name in pods), accounts)


def everything(store: ClusterStore) -> Changes:
    """All names of a store."""
    pods = frozenset(part.workload.key for part in store.pods.values())
    return Changes(services=frozenset(store.services), workloads=pods)


def _inbound_differs(name: Ref, old: ClusterStore, new: ClusterStore) -> bool:
    workload = new.pods[name].workload
    return old.inbound_ports(workload) != new.inbound_ports(workload)
