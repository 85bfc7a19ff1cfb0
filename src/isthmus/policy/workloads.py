"""The mesh's pods by their addresses, as the control plane told of them last. Pure.

What was told last stays while the control plane is away.
"""

from collections.abc import Mapping, Sequence

from isthmus.config.workload_feed import FedWorkload, decode
from isthmus.policy.client import KnownWorkload


class WorkloadIndex:
    """`policy.client.Workloads` over resources by name; owned by the task that follows the feed."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}
        self._pods: dict[str, FedWorkload] = {}
        self._at: dict[str, dict[str, KnownWorkload]] = {}

    @property
    def versions(self) -> Mapping[str, str]:
        """What is held, by name: what a new stream need not send again (xDS: `initial_resource_versions`)."""
        return self._versions

    def at(self, address: str) -> Sequence[KnownWorkload]:
        """See `Workloads`."""
        found = self._at.get(address)
        return () if found is None else tuple(found.values())

    def put(self, name: str, version: str, body: bytes) -> None:
        """A pod appeared or changed. Raises ValueError where it cannot be read; what was held stays."""
        pod = decode(body)
        self._forget(name)
        self._versions[name], self._pods[name] = version, pod
        known = KnownWorkload(pod.cluster, pod.namespace, pod.account, pod.workload, pod.labels)
        for address in pod.addresses:
            self._at.setdefault(address, {})[name] = known

    def remove(self, name: str) -> None:
        """A pod is gone; one that is not known changes nothing."""
        self._versions.pop(name, None)
        self._forget(name)

    def _forget(self, name: str) -> None:
        pod = self._pods.pop(name, None)
        for address in () if pod is None else pod.addresses:
            sharing = self._at[address]
            del sharing[name]
            if not sharing:
                del self._at[address]
