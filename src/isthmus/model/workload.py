"""Pods and endpoints as the mesh sees them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from isthmus.model.service import ClusterId, Network, Protocol, ServiceKey


class Locality(NamedTuple):
    """Where a node stands, from its `topology.kubernetes.io/*` and `topology.istio.io/subzone` labels."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


class WorkloadKey(NamedTuple):
    """A pod's identity across the mesh."""

    cluster: ClusterId
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod: who it is and where. `addresses` are its pod IPs, primary first.

    `container_ports` are those its containers declare: (port number, protocol "TCP"/"UDP"), sorted.
    `owner` is the name of what owns it, a ReplicaSet's hash removed (`echo` for `echo-5d9c-x2x`).
    """

    key: WorkloadKey
    addresses: tuple[str, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    service_account: str
    network: Network
    locality: Locality
    owner: str = ""

    @property
    def tls_capable(self) -> bool:
        """Whether a sidecar there accepts Istio mutual TLS."""
        return self.labels.get("security.istio.io/tlsMode") == "istio"


class Health(Enum):
    """What an endpoint may be sent. DRAINING: finishes what it has (Kubernetes: serving and terminating)."""

    READY = "ready"
    DRAINING = "draining"
    UNREADY = "unready"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address and port behind one service port.

    `workload` is None where no Pod is known behind it. `awaited`: one is named, and will be known when the
    cluster has told of it; until then it is not known what the endpoint speaks, or who it is.
    Of different priorities the lower serves first, and a greater one as far as the lower ones cannot.
    """

    address: str
    port: int
    health: Health
    cluster: ClusterId
    network: Network
    locality: Locality
    workload: Workload | None = None
    hostname: str = ""
    weight: int = 1
    priority: int = 0
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A service port that ends at one workload: what its sidecar listens for on the pod's behalf."""

    service: ServiceKey
    service_port: int
    target_port: int
    name: str
    protocol: Protocol
