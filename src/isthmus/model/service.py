"""Services as the whole mesh sees them: one name and namespace, the same in all clusters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, NewType

from isthmus.model.exports import ExportTo

ClusterId = NewType("ClusterId", str)
"""A cluster's name, unique in the mesh (for remotes, the key of the cluster Secret)."""

Network = NewType("Network", str)
"""A network within which pod addresses are directly reachable; "" when the operator named none."""


class ServiceKey(NamedTuple):
    """A service's identity across the mesh."""

    namespace: str
    name: str

    def hostname(self, domain: str = "cluster.local") -> str:
        """Its name as Istio and Kubernetes DNS spell it, e.g. `reviews.default.svc.cluster.local`."""
        return f"{self.name}.{self.namespace}.svc.{domain}"


class Protocol(Enum):
    """A port's application protocol (Istio: protocol selection). SNIFFED: nothing was declared."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    UDP = "UDP"
    SNIFFED = "SNIFFED"

    @property
    def is_http(self) -> bool:
        """Whether Envoy reads it as HTTP without asking."""
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)


class Kind(Enum):
    """How a service's clients reach it."""

    CLUSTER_IP = "ClusterIP"
    HEADLESS = "Headless"
    EXTERNAL_NAME = "ExternalName"


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a service, united over clusters by number."""

    number: int
    name: str
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class PortConflict:
    """Clusters that disagree on a port's protocol; `chosen` is in force everywhere."""

    number: int
    chosen: Protocol
    declared: Mapping[ClusterId, Protocol]


@dataclass(frozen=True, slots=True)
class Service:
    """One service, merged over the clusters that have it. `ports` are sorted by number.

    `addresses` holds its virtual addresses (ClusterIPs) by cluster; a headless service has none there.
    `kind` is as the oldest cluster by name order that has the Service declares it.
    `external_name` is set only for `Kind.EXTERNAL_NAME`. `node_local`: clients use endpoints of their own
    node only (Kubernetes: `internalTrafficPolicy: Local`). `same_zone`: they prefer those of their own zone
    (`trafficDistribution: PreferSameZone`). `export_to`: whose proxies are told of it, as declared by the
    first cluster that says so; `exports` has all declarations where these differ.
    """

    key: ServiceKey
    kind: Kind
    ports: tuple[Port, ...]
    addresses: Mapping[ClusterId, tuple[str, ...]]
    clusters: frozenset[ClusterId]
    external_name: str = ""
    conflicts: tuple[PortConflict, ...] = ()
    node_local: bool = False
    same_zone: bool = False
    export_to: ExportTo = ()
    exports: Mapping[ClusterId, ExportTo] = field(default_factory=dict[ClusterId, ExportTo])
