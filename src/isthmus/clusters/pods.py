"""One cluster's living Pods, found by address, by node, and by a Service's selector."""

from collections.abc import Collection, Mapping

from isthmus.clusters.index import Index
from isthmus.clusters.parts import PodPart
from isthmus.clusters.selection import Selection
from isthmus.kube.decoding import Ref


class Pods:
    """Pods by name, as they were placed; their labels stand in `selection` too."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._parts: dict[Ref, PodPart] = {}
        self._on_node: Index[str, Ref] = Index()
        self._at: Index[str, Ref] = Index()

    @property
    def parts(self) -> Mapping[Ref, PodPart]:
        """All of them."""
        return self._parts

    def at(self, address: str) -> Collection[Ref]:
        """Those that say who is at an address, in no order: not those on the host's network."""
        return self._at[address]

    def on_node(self, node: str) -> Collection[Ref]:
        """Those on a node, in no order."""
        return self._on_node[node]

    def put(self, name: Ref, part: PodPart) -> None:
        """It is there, or another than it was."""
        self.drop(name)
        self._parts[name] = part
        self._selection.add_pod(name, part.workload.labels)
        self._on_node.add(part.node, name)
        for address in part.workload.addresses if part.own_address else ():
            self._at.add(address, name)

    def replace(self, name: Ref, part: PodPart) -> None:
        """It is somewhere else, on the same node: nothing that it is found by has changed."""
        self._parts[name] = part

    def drop(self, name: Ref) -> bool:
        """It is gone; whether it was there."""
        old = self._parts.pop(name, None)
        if old is None:
            return False
        self._selection.discard_pod(name, old.workload.labels)
        self._on_node.discard(old.node, name)
        for address in old.workload.addresses:
            self._at.discard(address, name)
        return True
