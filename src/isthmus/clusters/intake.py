"""Kubernetes events of one cluster into its store: decides nothing but when the cluster is complete."""

import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import structlog

from isthmus.clusters.parts import SlicePart
from isthmus.clusters.reading import read_endpoints, read_locality, read_pod, read_service, read_slice
from isthmus.clusters.service_annotations import meaningless_annotations
from isthmus.clusters.store import NETWORK_LABEL, ClusterStore
from isthmus.kube import objects
from isthmus.kube.decoding import Ref, Rejected
from isthmus.kube.watch import Event, Removed, Synced, Upserted
from isthmus.model.service import Network, ServiceKey
from isthmus.model.view import Changes

_log = structlog.stdlib.get_logger(__name__)
T = TypeVar("T", bound=objects.Object)
_SERVICES, _SLICES, _ENDPOINTS, _PODS, _NODES = "Services", "EndpointSlice", "Endpoints", "Pods", "Nodes"
"""Kinds as istiod's metrics name them."""


class Intake:
    """One method a kind, to be given to its watch.

    `control_namespace` is where that cluster's network label stands. `changed` is called with the store and
    each change of it, within the event. `events` counts what comes by kind and event, in istiod's words
    (`pilot_k8s_reg_events`); an "updatesame" changed nothing that the mesh uses.
    """

    def __init__(
        self,
        store: ClusterStore,
        *,
        control_namespace: str,
        changed: Callable[[ClusterStore, Changes], None],
        events: Counter[tuple[str, str]] | None = None,
    ) -> None:
        self.store = store
        self._events = Counter[tuple[str, str]]() if events is None else events
        self.rejected: dict[tuple[str, Ref], tuple[Rejected, ...]] = {}
        """What was left out, by object: of Services, and of slices (or Endpoints), whose kind is ""."""
        self.changed_at: float | None = None
        """When the latest change came, in Unix seconds."""
        self._control_namespace = control_namespace
        self._changed = changed

    def _tell(self, changes: Changes) -> None:
        if changes != Changes():
            self.changed_at = time.time()
            self._changed(self.store, changes)

    def _took(self, kind: str, changes: Changes, *, known: bool) -> None:
        """An object was put into the store, which knew it before or did not."""
        event = "add" if not known else "updatesame" if changes == Changes() else "update"
        self._events[kind, event] += 1
        self._tell(changes)

    def _lost(self, kind: str, changes: Changes) -> None:
        """An object is gone."""
        self._events[kind, "delete"] += 1
        self._tell(changes)

    def service(self, event: Event[objects.Service]) -> None:
        """A Service."""
        match event:
            case Upserted(service):
                self._note(service.metadata, meaningless_annotations(service.metadata), "Service")
                part = read_service(service)
                known = part.key in self.store.services
                self._took(_SERVICES, self.store.put_service(part), known=known)
            case Removed(service):
                self._note(service.metadata, (), "Service")
                key = ServiceKey(service.metadata.namespace, service.metadata.name)
                self._lost(_SERVICES, self.store.drop_service(key))
            case Synced():
                pass

    def slice(self, event: Event[objects.EndpointSlice]) -> None:
        """An EndpointSlice."""
        match event:
            case Upserted(piece):
                part, rejected = read_slice(piece)
                self._take_slice(_SLICES, self._note(piece.metadata, rejected), part)
            case Removed(piece):
                self._lost(_SLICES, self.store.drop_slice(self._note(piece.metadata, ())))
            case Synced():
                pass

    def endpoints(self, event: Event[objects.Endpoints]) -> None:
        """An Endpoints object, where the cluster serves no slices."""
        match event:
            case Upserted(endpoints):
                part, rejected = read_endpoints(endpoints)
                self._take_slice(_ENDPOINTS, self._note(endpoints.metadata, rejected), part)
            case Removed(endpoints):
                self._lost(_ENDPOINTS, self.store.drop_slice(self._note(endpoints.metadata, ())))
            case Synced():
                pass

    def _take_slice(self, kind: str, name: Ref, part: SlicePart | None) -> None:
        known = name in self.store.slices
        changes = self.store.drop_slice(name) if part is None else self.store.put_slice(name, part)
        self._took(kind, changes, known=known)

    def pod(self, event: Event[objects.Pod]) -> None:
        """A Pod."""
        match event:
            case Upserted(pod):
                part, known = read_pod(self.store.cluster, pod), _ref(pod) in self.store.pods
                changes = self.store.drop_pod(_ref(pod)) if part is None else self.store.put_pod(part)
                self._took(_PODS, changes, known=known)
            case Removed(pod):
                self._lost(_PODS, self.store.drop_pod(_ref(pod)))
            case Synced():
                pass

    def node(self, event: Event[objects.Node]) -> None:
        """A Node."""
        match event:
            case Upserted(node):
                name = node.metadata.name
                known = name in self.store.nodes
                self._took(_NODES, self.store.put_node(name, read_locality(node)), known=known)
            case Removed(node):
                self._lost(_NODES, self.store.drop_node(node.metadata.name))
            case Synced():
                pass

    def namespace(self, event: Event[objects.Namespace]) -> None:
        """A Namespace: of one we read the network label, of `kube-system` the identity."""
        match event:
            case Upserted(namespace):
                if namespace.metadata.name == "kube-system":
                    self.store.identity = namespace.metadata.uid
                if namespace.metadata.name == self._control_namespace:
                    network = namespace.metadata.labels.get(NETWORK_LABEL)
                    self._tell(self.store.put_network(None if network is None else Network(network)))
            case Removed(namespace):
                if namespace.metadata.name == self._control_namespace:
                    self._tell(self.store.put_network(None))
            case Synced():
                pass

    def _note(self, metadata: objects.Metadata, rejected: tuple[Rejected, ...], kind: str = "") -> Ref:
        """Remember what of an object was left out, and log it where that is new."""
        ref = Ref(metadata.namespace, metadata.name)
        known = self.rejected.get((kind, ref), ())
        if rejected:
            self.rejected[kind, ref] = rejected
        else:
            self.rejected.pop((kind, ref), None)
        for each in rejected:
            if each not in known:
                _log.warning(
                    "part of an object rejected",
                    cluster=self.store.cluster,
                    kind=each.kind,
                    object=str(each.ref),
                    reason=each.reason,
                )
        return ref


def _ref(item: objects.Object) -> Ref:
    return Ref(item.metadata.namespace, item.metadata.name)
