"""Pods and endpoints as the mesh sees them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import msgspec

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
    `owner` is the name of what owns it, a ReplicaSet's hash removed (`echo` for `echo-5d9c-x2x`). `node` is
    where it runs, "" until that is decided.
    """

    key: WorkloadKey
    addresses: tuple[str, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    service_account: str
    network: Network
    locality: Locality
    owner: str = ""
    node: str = ""

    @property
    def tls_capable(self) -> bool:
        """Whether a sidecar there accepts Istio mutual TLS."""
        return self.labels.get("security.istio.io/tlsMode") == "istio"


class Health(Enum):
    """What an endpoint may be sent. DRAINING: finishes what it has (Kubernetes: serving and terminating)."""

    READY = "ready"
    DRAINING = "draining"
    UNREADY = "unready"


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One address and port behind one service port. A struct, as there are very many and all are made anew
    with their slice.

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


class EndpointGroup:
    """Endpoints of one service port that come and go together, as those of one EndpointSlice do.

    It is never altered, and equal to itself only: what is made of it may be remembered for as long as it is
    there, so that a change in a large service costs the group that changed.
    """

    __slots__ = ("__weakref__", "_places", "_weighed", "endpoints")

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._places: Mapping[Network, frozenset[str]] | None = None
        self._weighed: tuple[int, int, EndpointGroup] | None = None

    @property
    def places(self) -> Mapping[Network, frozenset[str]]:
        """Its addresses, by network."""
        if self._places is None:
            found: dict[Network, set[str]] = {}
            for endpoint in self.endpoints:
                found.setdefault(endpoint.network, set()).add(endpoint.address)
            self._places = {network: frozenset(some) for network, some in found.items()}
        return self._places

    def weighed(self, priority: int, weight: int) -> "EndpointGroup":
        """The same endpoints with that priority, each with so many times its weight."""
        if (priority, weight) == (0, 1):
            return self
        last = self._weighed
        if last is None or last[:2] != (priority, weight):
            others = (
                msgspec.structs.replace(each, priority=priority, weight=each.weight * weight)
                for each in self.endpoints
            )
            last = self._weighed = priority, weight, EndpointGroup(others)
        return last[2]


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A service port that ends at one workload: what its sidecar listens for on the pod's behalf."""

    service: ServiceKey
    service_port: int
    target_port: int
    name: str
    protocol: Protocol
