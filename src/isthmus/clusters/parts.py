"""What one cluster says, as small frozen parts: only what the mesh uses, so that equal parts mean no change.

They are made from Kubernetes objects by `reading`, kept by `store`, and joined by `join`.
"""

from dataclasses import dataclass

import msgspec

from isthmus.clusters.labels import Labels
from isthmus.model.exports import ExportTo
from isthmus.model.service import Kind, Protocol, ServiceKey
from isthmus.model.workload import Health, Workload


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port as one cluster's Service declares it. `target` is a number or a container port's name."""

    number: int
    name: str
    protocol: Protocol
    target: int | str


@dataclass(frozen=True, slots=True)
class ServicePart:
    """One cluster's Service. `ports` are sorted by number, one a number; `selector` may be empty."""

    key: ServiceKey
    kind: Kind
    ports: tuple[ServicePort, ...]
    addresses: tuple[str, ...]
    selector: Labels
    external_name: str = ""
    publish_not_ready: bool = False
    node_local: bool = False
    same_zone: bool = False
    export_to: ExportTo = ()


class Backend(msgspec.Struct, frozen=True, gc=False):
    """One address in an EndpointSlice or Endpoints; what it does not say is "".

    A struct, as all of a slice are made anew whenever one changes.
    """

    address: str
    health: Health
    pod: str = ""
    node: str = ""
    zone: str = ""
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class Subset:
    """Addresses that all listen on the same ports: (service port name, target number)."""

    ports: tuple[tuple[str, int], ...]
    backends: tuple[Backend, ...]


@dataclass(frozen=True, slots=True)
class SlicePart:
    """One EndpointSlice (one subset) or Endpoints object (any number), of one service."""

    service: ServiceKey
    subsets: tuple[Subset, ...]


@dataclass(frozen=True, slots=True)
class PodPart:
    """One living Pod. `ports` are its containers' named ports, sorted.

    A reader leaves the workload's network, node and locality empty; the store, which knows the nodes, fills
    them.
    `own_address` is false for pods on the host's network, whose address says nothing about who they are.
    """

    workload: Workload
    node: str
    ports: tuple[tuple[str, int], ...]
    own_address: bool = True
