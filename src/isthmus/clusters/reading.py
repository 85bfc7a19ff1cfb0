"""Kubernetes objects into parts: pure. What of an object is of no use is rejected by name, the rest stays."""

from collections.abc import Iterable, Iterator
from sys import intern

from isthmus.clusters.addresses import endpoint_address
from isthmus.clusters.labels import shared_labels
from isthmus.clusters.parts import Backend, PodPart, ServicePart, ServicePort, SlicePart, Subset
from isthmus.clusters.protocols import declared_protocol
from isthmus.clusters.service_annotations import declared_exports, prefers_its_zone
from isthmus.kube import objects
from isthmus.kube.decoding import Ref, Rejected
from isthmus.model.service import ClusterId, Kind, Network, ServiceKey
from isthmus.model.workload import Health, Locality, Workload, WorkloadKey

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_MOST_REJECTIONS = 10


class Rejections:
    """Collects what of one object was left out; past the first ten it only counts."""

    def __init__(self, kind: str, metadata: objects.Metadata) -> None:
        self._kind = kind
        self._ref = Ref(metadata.namespace, metadata.name)
        self._reasons: list[str] = []
        self._more = 0

    def add(self, field: str, reason: object) -> None:
        """Note that `field` was left out, and why."""
        if len(self._reasons) < _MOST_REJECTIONS:
            self._reasons.append(f"{field}: {reason}")
        else:
            self._more += 1

    def all(self) -> tuple[Rejected, ...]:
        """One for each field, the last of them for all that were only counted."""
        reasons = [*self._reasons, *([f"and {self._more} more like these"] if self._more else [])]
        return tuple(Rejected(self._kind, self._ref, reason) for reason in reasons)


def read_service(service: objects.Service) -> ServicePart:
    """One cluster's Service. NodePort and LoadBalancer are ClusterIP here: how outsiders come in is not ours.

    Where TCP and UDP share a number (DNS), the TCP port stands for it: Envoy carries no UDP for services.
    """
    spec, metadata = service.spec, service.metadata
    addresses = tuple(ip for ip in spec.cluster_ips or (spec.cluster_ip,) if ip and ip != "None")
    if spec.type == "ExternalName":
        kind, addresses = Kind.EXTERNAL_NAME, ()
    elif spec.cluster_ip == "None":
        kind = Kind.HEADLESS
    else:
        kind = Kind.CLUSTER_IP
    ports = {
        port.port: ServicePort(
            port.port,
            intern(port.name),
            declared_protocol(port.protocol, port.app_protocol, port.name),
            port.target_port or port.port,
        )
        for port in sorted(spec.ports, key=lambda port: (port.port, port.protocol != "UDP"))
    }
    return ServicePart(
        key=ServiceKey(metadata.namespace, intern(metadata.name)),
        kind=kind,
        ports=tuple(ports.values()),
        addresses=addresses,
        selector=shared_labels({} if kind is Kind.EXTERNAL_NAME else spec.selector),
        external_name=spec.external_name if kind is Kind.EXTERNAL_NAME else "",
        publish_not_ready=spec.publish_not_ready_addresses,
        node_local=kind is Kind.CLUSTER_IP and spec.internal_traffic_policy == "Local",
        same_zone=kind is Kind.CLUSTER_IP and prefers_its_zone(service),
        export_to=declared_exports(metadata),
    )


def read_slice(piece: objects.EndpointSlice) -> tuple[SlicePart | None, tuple[Rejected, ...]]:
    """An EndpointSlice, or None where it belongs to no service or holds host names (addressType FQDN)."""
    rejections = Rejections("EndpointSlice", piece.metadata)
    service = piece.metadata.labels.get(SERVICE_NAME_LABEL)
    if not service:
        return None, ()
    if piece.address_type not in ("IPv4", "IPv6"):
        rejections.add("addressType", f"{piece.address_type[:40]} is not supported, only IPv4 and IPv6 are")
        return None, rejections.all()
    backends: list[Backend] = []
    for index, endpoint in enumerate(piece.endpoints):
        health = _health(endpoint.conditions)
        for nth, address in enumerate(endpoint.addresses):
            try:
                usable = endpoint_address(address, piece.address_type)
            except ValueError as error:
                rejections.add(f"endpoints[{index}].addresses[{nth}]", error)
                continue
            pod = _pod_name(endpoint.target_ref)
            backends.append(
                Backend(usable, health, pod, endpoint.node_name, endpoint.zone, intern(endpoint.hostname))
            )
    subset = Subset(tuple(_ports(piece.ports, rejections, "ports")), tuple(backends))
    return SlicePart(ServiceKey(piece.metadata.namespace, intern(service)), (subset,)), rejections.all()


def read_endpoints(endpoints: objects.Endpoints) -> tuple[SlicePart, tuple[Rejected, ...]]:
    """An Endpoints object, for clusters without slices. It knows nothing of draining."""
    rejections = Rejections("Endpoints", endpoints.metadata)
    subsets: list[Subset] = []
    for index, subset in enumerate(endpoints.subsets):
        backends: list[Backend] = []
        for field, health, addresses in (
            ("addresses", Health.READY, subset.addresses),
            ("notReadyAddresses", Health.UNREADY, subset.not_ready_addresses),
        ):
            for nth, address in enumerate(addresses):
                try:
                    usable = endpoint_address(address.ip)
                except ValueError as error:
                    rejections.add(f"subsets[{index}].{field}[{nth}].ip", error)
                    continue
                pod = _pod_name(address.target_ref)
                backends.append(Backend(usable, health, pod, address.node_name, "", intern(address.hostname)))
        ports = tuple(_ports(subset.ports, rejections, f"subsets[{index}].ports"))
        subsets.append(Subset(ports, tuple(backends)))
    key = ServiceKey(endpoints.metadata.namespace, intern(endpoints.metadata.name))
    return SlicePart(key, tuple(subsets)), rejections.all()


def _health(conditions: objects.EndpointConditions) -> Health:
    """Kubernetes, EndpointConditions: unknown is ready, not terminating, and serving as ready is."""
    terminating = conditions.terminating is True
    ready = not terminating if conditions.ready is None else conditions.ready
    serving = conditions.ready is not False if conditions.serving is None else conditions.serving
    if ready:
        return Health.READY
    return Health.DRAINING if terminating and serving else Health.UNREADY


def _pod_name(target: objects.ObjectReference | None) -> str:
    return intern(target.name) if target is not None and target.kind == "Pod" else ""


def _ports(
    ports: Iterable[objects.EndpointPort], rejections: Rejections, field: str
) -> Iterator[tuple[str, int]]:
    for index, port in enumerate(ports):
        if port.port is not None and 0 < port.port < 65536:
            yield intern(port.name), port.port
        else:
            rejections.add(f"{field}[{index}].port", "is no port number from 1 to 65535")


def read_pod(cluster: ClusterId, pod: objects.Pod) -> PodPart | None:
    """A Pod, or None once it has run to its end: its address may already be another's.

    Of its annotations only those are kept that are the mesh's business, so that the rest may change unseen.
    """
    if pod.status.phase in ("Succeeded", "Failed"):
        return None
    metadata = pod.metadata
    annotations = {key: value for key, value in metadata.annotations.items() if _is_ours(key)}
    named = {
        (intern(port.name), port.container_port)
        for container in pod.spec.containers
        for port in container.ports
        if port.name
    }
    return PodPart(
        workload=Workload(
            key=WorkloadKey(cluster, metadata.namespace, intern(metadata.name)),
            addresses=tuple(intern(address) for address in pod.addresses),
            labels=shared_labels(metadata.labels),
            annotations=shared_labels(annotations),
            service_account=pod.spec.service_account_name or "default",
            network=Network(""),
            locality=Locality(),
            owner=_owner(metadata),
        ),
        node=pod.spec.node_name,
        ports=tuple(sorted(named)),
        own_address=not pod.spec.host_network,
    )


def _is_ours(annotation: str) -> bool:
    domain = annotation.partition("/")[0]
    return domain.endswith(("istio.io", "isthmus.dev")) or domain == "prometheus.io"


def _owner(metadata: objects.Metadata) -> str:
    """The controller's name; a ReplicaSet's without the hash that its Deployment gave it."""
    owner = next((owner for owner in metadata.owner_references if owner.controller), None)
    if owner is None:
        return ""
    if owner.kind != "ReplicaSet":
        return intern(owner.name)
    template = metadata.labels.get("pod-template-hash")
    return intern(owner.name.removesuffix(f"-{template}") if template else owner.name)


def read_locality(node: objects.Node) -> Locality:
    """Where a node stands (Kubernetes: well-known labels; their names before 1.17; Istio's subzone)."""
    labels = node.metadata.labels
    return Locality(
        *(
            intern(next((labels[name] for name in names if labels.get(name)), ""))
            for names in (
                ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
                ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
                ("topology.istio.io/subzone",),
            )
        )
    )
