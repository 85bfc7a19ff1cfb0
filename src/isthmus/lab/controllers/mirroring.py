"""Endpoints that somebody wrote for a Service without a selector → EndpointSlices that say the same."""

from isthmus.kube.client import Client
from isthmus.lab.controllers.cache import Caches
from isthmus.lab.controllers.endpoints import EndpointPort, Ports
from isthmus.lab.controllers.objects import (
    Key,
    Object,
    entries,
    is_terminating,
    key_of,
    labels_of,
    owner_reference,
    section,
)
from isthmus.lab.controllers.queue import WorkQueue
from isthmus.lab.controllers.slices import MANAGED_BY, SERVICE_LABEL, SliceOwner, reconcile_slices

MANAGER = "endpointslicemirroring-controller.k8s.io"
_SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"


class Mirroring:
    """Reconciles mirrored slices, by the name of Endpoints and Service."""

    def __init__(self, client: Client, caches: Caches, queue: WorkQueue) -> None:
        self._client = client
        self._services = caches["", "services"]
        self._endpoints = caches["", "endpoints"]
        self._slices = caches["discovery.k8s.io", "endpointslices"]
        self._queue = queue
        for cache in (self._services, self._endpoints):
            cache.listen(self._changed)
        self._slices.listen(self._slice_changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        either = new or old
        if either is not None:
            self._queue.add(key_of(either))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        either = new or old
        if either is not None and labels_of(either).get(MANAGED_BY) == MANAGER:
            self._queue.add(Key(key_of(either).namespace, labels_of(either).get(SERVICE_LABEL, "")))

    async def reconcile(self, key: Key) -> None:
        """Mirror the Endpoints of that name, or remove the mirror where there must be none."""
        service, endpoints = self._services.get(key), self._endpoints.get(key)
        if endpoints is None or is_terminating(endpoints):
            return
        wanted = derive_mirror(endpoints) if service is not None and _is_mirrored(service, endpoints) else {}
        labels = {name: value for name, value in labels_of(endpoints).items() if name != MANAGED_BY}
        owner = SliceOwner(key.name, owner_reference(endpoints, "v1", "Endpoints"), labels, MANAGER)
        await reconcile_slices(self._client, self._slices, key.namespace, owner, wanted)


def _is_mirrored(service: Object, endpoints: Object) -> bool:
    annotations = section(endpoints, "metadata", "annotations")
    skipped = labels_of(endpoints).get(_SKIP) == "true" or _LEADER in annotations
    return not skipped and not service["spec"].get("selector")


def derive_mirror(endpoints: Object) -> dict[Ports, list[Object]]:
    """The slice endpoints of each subset, by its ports."""
    wanted: dict[Ports, list[Object]] = {}
    for subset in entries(endpoints, "subsets"):
        ports = tuple(
            EndpointPort(
                port.get("name") or "", port.get("port"), port.get("protocol", "TCP"), port.get("appProtocol")
            )
            for port in entries(subset, "ports")
        )
        group = wanted.setdefault(ports, [])
        group.extend(_endpoint(address, ready=True) for address in entries(subset, "addresses"))
        group.extend(_endpoint(address, ready=False) for address in entries(subset, "notReadyAddresses"))
    return wanted


def _endpoint(address: Object, *, ready: bool) -> Object:
    kept = {name: address[name] for name in ("hostname", "nodeName", "targetRef") if name in address}
    conditions = {"ready": ready, "serving": ready, "terminating": False}
    return {"addresses": [address["ip"]], "conditions": conditions, **kept}
