"""Kubernetes objects as small frozen structs that hold only the fields which the mesh reads.

Every field has a default, unknown fields are ignored, and a JSON null means "absent" (see `decoding`).
Nothing here is ever written back: what we write is built as plain JSON objects.
The shapes are those of Kubernetes' API reference, names in Python's spelling.
"""

from sys import intern

from msgspec import Struct, field
from msgspec.structs import force_setattr

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class OwnerReference(Struct, frozen=True, gc=False, rename="camel"):
    """Who made an object: `controller` marks the one that manages it."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Metadata(Struct, frozen=True, gc=False, rename="camel"):
    """`metadata` of every object. Timestamps are RFC 3339 text, "" where there is none.

    kubectl's copy of the last applied object is left out of the annotations: it is as large as the object.
    """

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()

    def __post_init__(self) -> None:
        force_setattr(self, "namespace", intern(self.namespace))
        self.annotations.pop(_LAST_APPLIED, None)


class Object(Struct, frozen=True, gc=False, rename="camel"):
    """What all kinds have in common."""

    metadata: Metadata = Metadata()


class ServicePort(Struct, frozen=True, gc=False, rename="camel"):
    """`target_port` is a number, a container port's name, or None: the same number as `port`."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str = ""
    target_port: int | str | None = None
    node_port: int = 0


class ServiceSpec(Struct, frozen=True, gc=False, rename="camel"):
    """`cluster_ip` is "None" for a headless Service; `cluster_ips` is empty on servers before 1.20."""

    type: str = "ClusterIP"
    cluster_ip: str = field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = field(default=(), name="clusterIPs")
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = {}
    external_name: str = ""
    publish_not_ready_addresses: bool = False
    internal_traffic_policy: str = ""
    traffic_distribution: str = ""


class Service(Object, frozen=True, gc=False, rename="camel"):
    """core/v1 Service."""

    spec: ServiceSpec = ServiceSpec()


class ObjectReference(Struct, frozen=True, gc=False, rename="camel"):
    """The object behind an endpoint, as a rule a Pod."""

    kind: str = ""
    namespace: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        force_setattr(self, "kind", intern(self.kind))
        force_setattr(self, "namespace", intern(self.namespace))


class EndpointConditions(Struct, frozen=True, gc=False, rename="camel"):
    """Conditions of an endpoint. None is "unknown": read it as ready, not terminating, serving as ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Struct, frozen=True, gc=False, rename="camel"):
    """One endpoint of a slice; its `addresses` are interchangeable, consumers use the first."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions = EndpointConditions()
    target_ref: ObjectReference | None = None
    hostname: str = ""
    node_name: str = ""
    zone: str = ""

    def __post_init__(self) -> None:
        force_setattr(self, "node_name", intern(self.node_name))
        force_setattr(self, "zone", intern(self.zone))


class EndpointPort(Struct, frozen=True, gc=False, rename="camel"):
    """A port of a slice or subset. In a slice, no number means all ports."""

    name: str = ""
    port: int | None = None
    protocol: str = "TCP"
    app_protocol: str = ""


class EndpointSlice(Object, frozen=True, gc=False, rename="camel"):
    """discovery.k8s.io/v1 and v1beta1 EndpointSlice; its Service is the label `kubernetes.io/service-name`.

    The `topology` of v1beta1 is not read: the Pod behind an endpoint knows its node.
    """

    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class EndpointAddress(Struct, frozen=True, gc=False, rename="camel"):
    """One address of core/v1 Endpoints."""

    ip: str
    hostname: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "node_name", intern(self.node_name))


class EndpointSubset(Struct, frozen=True, gc=False, rename="camel"):
    """Addresses that share ports."""

    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(Object, frozen=True, gc=False, rename="camel"):
    """core/v1 Endpoints, of the same name as their Service."""

    subsets: tuple[EndpointSubset, ...] = ()


class ContainerPort(Struct, frozen=True, gc=False, rename="camel"):
    """A port that a container declares."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Container(Struct, frozen=True, gc=False, rename="camel"):
    """A container's name and declared ports."""

    name: str = ""
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(Struct, frozen=True, gc=False, rename="camel"):
    """What of a Pod's specification says who and where it is."""

    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] = ()

    def __post_init__(self) -> None:
        force_setattr(self, "node_name", intern(self.node_name))
        force_setattr(self, "service_account_name", intern(self.service_account_name))


class Condition(Struct, frozen=True, gc=False, rename="camel"):
    """`status` is "True", "False" or "Unknown"."""

    type: str = ""
    status: str = ""

    def __post_init__(self) -> None:
        force_setattr(self, "type", intern(self.type))
        force_setattr(self, "status", intern(self.status))


class PodIP(Struct, frozen=True, gc=False, rename="camel"):
    """One address of a Pod."""

    ip: str = ""


class ContainerStatus(Struct, frozen=True, gc=False, rename="camel"):
    """Whether a container's readiness probe passes."""

    name: str = ""
    ready: bool = False


class PodStatus(Struct, frozen=True, gc=False, rename="camel"):
    """`phase` is "Pending", "Running", "Succeeded", "Failed" or "Unknown"."""

    phase: str = ""
    pod_ip: str = field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = field(default=(), name="podIPs")
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Object, frozen=True, gc=False, rename="camel"):
    """core/v1 Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its pod IPs, primary first; servers before 1.16 know but one."""
        many = tuple(each.ip for each in self.status.pod_ips if each.ip)
        return many or ((self.status.pod_ip,) if self.status.pod_ip else ())

    @property
    def ready(self) -> bool:
        """Whether the condition `Ready` is true."""
        return any(each.type == "Ready" and each.status == "True" for each in self.status.conditions)


class Node(Object, frozen=True, gc=False, rename="camel"):
    """core/v1 Node: its labels say where it stands."""


class Namespace(Object, frozen=True, gc=False, rename="camel"):
    """core/v1 Namespace: its labels."""


class Secret(Object, frozen=True, gc=False, rename="camel"):
    """core/v1 Secret. `data` is decoded from base64, and never shown."""

    type: str = ""
    data: dict[str, bytes] = {}

    def __repr__(self) -> str:
        keys = ", ".join(sorted(self.data))
        return f"Secret({self.metadata.namespace}/{self.metadata.name}, keys: {keys})"


class ConfigMap(Object, frozen=True, gc=False, rename="camel"):
    """core/v1 ConfigMap, text only."""

    data: dict[str, str] = {}


class LeaseSpec(Struct, frozen=True, gc=False, rename="camel"):
    """Who holds a Lease, "" for nobody, and how many seconds a renewal is good for."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    lease_transitions: int = 0


class Lease(Object, frozen=True, gc=False, rename="camel"):
    """coordination.k8s.io/v1 Lease."""

    spec: LeaseSpec = LeaseSpec()
