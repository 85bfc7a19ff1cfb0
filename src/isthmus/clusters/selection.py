"""Which services select which pods, asked from either side, without looking at all of either.

A service stands under one pair of its selector, so a pod looks only under its own pairs. Pods stand under
their whole label mapping, so a selector is matched once for all pods of a ReplicaSet.
"""

from collections.abc import Iterator, Mapping

from isthmus.clusters.index import Index
from isthmus.clusters.labels import Labels, selects, shared_labels
from isthmus.kube.decoding import Ref
from isthmus.model.service import ServiceKey


class Selection:
    """The selectors and the labels of one cluster."""

    def __init__(self) -> None:
        self._selectors: dict[ServiceKey, Labels] = {}
        self._services: Index[tuple[str, str, str], ServiceKey] = Index()
        self._alike: Index[str, Labels] = Index()
        self._pods: Index[tuple[str, Labels], Ref] = Index()

    def put_service(self, key: ServiceKey, selector: Labels) -> None:
        """A service has this selector from now on; an empty one selects nothing."""
        self.drop_service(key)
        if selector:
            self._selectors[key] = selector
            self._services.add((key.namespace, *min(selector.items())), key)

    def drop_service(self, key: ServiceKey) -> None:
        """A service selects nothing any more."""
        old = self._selectors.pop(key, None)
        if old is not None:
            self._services.discard((key.namespace, *min(old.items())), key)

    def add_pod(self, name: Ref, labels: Mapping[str, str]) -> None:
        """A pod has these labels."""
        shared = shared_labels(labels)
        self._alike.add(name.namespace, shared)
        self._pods.add((name.namespace, shared), name)

    def discard_pod(self, name: Ref, labels: Mapping[str, str]) -> None:
        """A pod has these labels no more."""
        shared = shared_labels(labels)
        self._pods.discard((name.namespace, shared), name)
        if not self._pods[name.namespace, shared]:
            self._alike.discard(name.namespace, shared)

    def services(self, namespace: str, labels: Mapping[str, str]) -> Iterator[ServiceKey]:
        """The services that select a pod with these labels, in no order."""
        for label, value in labels.items():
            for key in self._services[namespace, label, value]:
                if selects(self._selectors[key], labels):
                    yield key

    def pods(self, namespace: str, selector: Labels) -> Iterator[Ref]:
        """The pods that a selector matches, in no order."""
        for labels in self._alike[namespace]:
            if selects(selector, labels):
                yield from self._pods[namespace, labels]
