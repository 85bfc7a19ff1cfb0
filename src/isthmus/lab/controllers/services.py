"""Service with a selector → EndpointSlices and Endpoints of the Pods that it selects."""

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.lab.controllers.cache import Caches
from isthmus.lab.controllers.endpoints import ZONE_LABEL, Member, Ports, derive_members, derive_subsets
from isthmus.lab.controllers.objects import (
    Key,
    Object,
    entries,
    is_terminating,
    key_of,
    labels_of,
    owner_reference,
)
from isthmus.lab.controllers.queue import WorkQueue
from isthmus.lab.controllers.slices import MANAGED_BY, SERVICE_LABEL, SliceOwner, reconcile_slices

MANAGER = "endpointslice-controller.k8s.io"
_HEADLESS = "service.kubernetes.io/headless"
_ENDPOINTS_MANAGER = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}


class Services:
    """Reconciles what stands behind Services, by the Service's name."""

    def __init__(self, client: Client, caches: Caches, queue: WorkQueue) -> None:
        self._client = client
        self._services = caches["", "services"]
        self._pods = caches["", "pods"]
        self._nodes = caches["", "nodes"]
        self._endpoints = caches["", "endpoints"]
        self._slices = caches["discovery.k8s.io", "endpointslices"]
        self._queue = queue
        self._services.listen(self._service_changed)
        self._pods.listen(self._pod_changed)
        self._nodes.listen(self._node_changed)
        self._endpoints.listen(self._endpoints_changed)
        self._slices.listen(self._slice_changed)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        for each in (old, new):
            if each is not None:
                self._queue.add(key_of(each))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        either = new or old
        if either is None:
            return
        for service in self._services.within(key_of(either).namespace):
            if any(pod is not None and _selects(service, pod) for pod in (old, new)):
                self._queue.add(key_of(service))

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or labels_of(old).get(ZONE_LABEL) != labels_of(new).get(ZONE_LABEL):
            for service in self._services:
                self._queue.add(key_of(service))

    def _endpoints_changed(self, old: Object | None, new: Object | None) -> None:
        either = new or old
        if either is not None and key_of(either) != Key("default", "kubernetes"):
            self._queue.add(key_of(either))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        either = new or old
        if either is not None and labels_of(either).get(MANAGED_BY) == MANAGER:
            self._queue.add(Key(key_of(either).namespace, labels_of(either).get(SERVICE_LABEL, "")))

    async def reconcile(self, key: Key) -> None:
        """Write the slices and Endpoints of a Service; one without a selector is its author's own."""
        service = self._services.get(key)
        if service is None:
            await self._remove_endpoints(key)
            return
        if is_terminating(service) or not service["spec"].get("selector"):
            return
        pods = [pod for pod in self._pods.within(key.namespace) if _selects(service, pod)]
        members = derive_members(service, pods, self._zone_of)
        labels = {name: value for name, value in labels_of(service).items() if name != _HEADLESS}
        if service["spec"].get("clusterIP") == "None":
            labels[_HEADLESS] = ""
        owner = SliceOwner(key.name, owner_reference(service, "v1", "Service"), labels, MANAGER)
        wanted: dict[Ports, list[Object]] = {}
        for member in members:
            wanted.setdefault(member.ports, []).append(member.to_slice_endpoint(key.name))
        await reconcile_slices(self._client, self._slices, key.namespace, owner, wanted)
        await self._write_endpoints(service, labels, members)

    def _zone_of(self, node_name: str) -> str:
        node = self._nodes.get(Key("", node_name))
        return labels_of(node).get(ZONE_LABEL, "") if node is not None else ""

    async def _write_endpoints(self, service: Object, labels: Object, members: list[Member]) -> None:
        key = key_of(service)
        subsets, existing = derive_subsets(key.name, members), self._endpoints.get(key)
        labels = {**labels, **_ENDPOINTS_MANAGER}
        if existing is None:
            metadata: Object = {"name": key.name, "namespace": key.namespace, "labels": labels}
            body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}
            await self._client.create(self._endpoints.kind, body, key.namespace)
        elif entries(existing, "subsets") != subsets or labels_of(existing) != labels:
            metadata = {**existing["metadata"], "labels": labels}
            body = {**existing, "metadata": metadata, "subsets": subsets}
            await self._client.replace(self._endpoints.kind, key.name, body, key.namespace)

    async def _remove_endpoints(self, key: Key) -> None:
        """Endpoints go with their Service; the slices follow by their owner reference."""
        if self._endpoints.get(key) is None:
            return
        try:
            await self._client.delete(self._endpoints.kind, key.name, key.namespace)
        except ApiError as error:
            if error.status != 404:
                raise


def _selects(service: Object, pod: Object) -> bool:
    selector = service["spec"].get("selector")
    return bool(selector) and selector.items() <= labels_of(pod).items()
