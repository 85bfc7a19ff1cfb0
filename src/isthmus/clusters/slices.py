"""One cluster's EndpointSlices (or Endpoints), found by the service, the pods and the nodes that they name.

Cost of a change: the pods and nodes that come and go with it, of which most stay as they are.
"""

from collections.abc import Collection, Mapping

from isthmus.clusters.index import Index
from isthmus.clusters.parts import SlicePart
from isthmus.kube.decoding import Ref
from isthmus.model.service import ServiceKey


class Slices:
    """Those that belong to a service name, whether or not there is such a Service."""

    def __init__(self) -> None:
        self._parts: dict[Ref, SlicePart] = {}
        self._of_service: Index[ServiceKey, Ref] = Index()
        self._of_pod: Index[Ref, Ref] = Index()
        self._on_node: Index[str, Ref] = Index()

    @property
    def parts(self) -> Mapping[Ref, SlicePart]:
        """All of them, by their own names."""
        return self._parts

    def of_service(self, key: ServiceKey) -> list[Ref]:
        """Those of a service, sorted."""
        return sorted(self._of_service[key])

    def of_pod(self, name: Ref) -> Collection[Ref]:
        """Those that name a pod, in no order."""
        return self._of_pod[name]

    def on_node(self, node: str) -> Collection[Ref]:
        """Those that name a node, in no order."""
        return self._on_node[node]

    def put(self, name: Ref, part: SlicePart) -> None:
        """It is there, or another than it was."""
        old = self._parts.get(name)
        self._parts[name] = part
        self._index(name, old, part)

    def drop(self, name: Ref) -> SlicePart | None:
        """It is gone; as what, None where it was not there."""
        old = self._parts.pop(name, None)
        if old is not None:
            self._index(name, old, None)
        return old

    def _index(self, name: Ref, old: SlicePart | None, new: SlicePart | None) -> None:
        if old is not None:
            self._of_service.discard(old.service, name)
        if new is not None:
            self._of_service.add(new.service, name)
        (pods_before, nodes_before), (pods, nodes) = places(old), places(new)
        for pod in pods_before - pods:
            self._of_pod.discard(Ref(name.namespace, pod), name)
        for pod in pods - pods_before:
            self._of_pod.add(Ref(name.namespace, pod), name)
        for node in nodes_before - nodes:
            self._on_node.discard(node, name)
        for node in nodes - nodes_before:
            self._on_node.add(node, name)


def places(part: SlicePart | None) -> tuple[set[str], set[str]]:
    """The pods and nodes that a slice names."""
    if part is None:
        return set(), set()
    pods = {backend.pod for subset in part.subsets for backend in subset.backends}
    nodes = {backend.node for subset in part.subsets for backend in subset.backends}
    return pods - {""}, nodes - {""}
