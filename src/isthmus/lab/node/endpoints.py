"""Services and their EndpointSlices, joined by name: what DNS and the service proxy both read. Pure."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import NamedTuple

from msgspec.structs import replace

from isthmus.kube.objects import EndpointSlice, Service, SliceEndpoint

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


class ServiceName(NamedTuple):
    """A Service within the cluster."""

    namespace: str
    name: str


@dataclass(slots=True)
class Services:
    """The cluster's Services and slices as the watches have told so far; `slices` hold IPv4 only."""

    services: dict[ServiceName, Service] = field(default_factory=dict[ServiceName, Service])
    slices: dict[ServiceName, dict[str, EndpointSlice]] = field(
        default_factory=dict[ServiceName, dict[str, EndpointSlice]]
    )

    def put_service(self, service: Service) -> ServiceName:
        """Take a new or changed Service."""
        name = ServiceName(service.metadata.namespace, service.metadata.name)
        self.services[name] = service
        return name

    def drop_service(self, service: Service) -> ServiceName:
        """Forget a Service."""
        name = ServiceName(service.metadata.namespace, service.metadata.name)
        self.services.pop(name, None)
        return name

    def put_slice(self, slice_: EndpointSlice) -> Collection[ServiceName]:
        """Take a new or changed slice; the Services whose endpoints may differ now.

        Endpoints whose address is none are left out: they must not spoil the rules of others.
        """
        changed = set(self.drop_slice(slice_))
        name = slice_.metadata.labels.get(SERVICE_NAME_LABEL)
        if name and slice_.address_type == "IPv4":
            owner = ServiceName(slice_.metadata.namespace, name)
            sound = tuple(e for e in slice_.endpoints if e.addresses and is_ipv4(e.addresses[0]))
            self.slices.setdefault(owner, {})[slice_.metadata.name] = replace(slice_, endpoints=sound)
            changed.add(owner)
        return changed

    def drop_slice(self, slice_: EndpointSlice) -> Collection[ServiceName]:
        """Forget a slice, whichever Service it belonged to; that Service, if any."""
        namespace, name = slice_.metadata.namespace, slice_.metadata.name
        owners = [
            owner for owner, held in self.slices.items() if owner.namespace == namespace and name in held
        ]
        for owner in owners:
            del self.slices[owner][name]
            if not self.slices[owner]:
                del self.slices[owner]
        return owners

    def slices_of(self, name: ServiceName) -> Iterator[EndpointSlice]:
        """The slices of a Service, in a stable order."""
        held = self.slices.get(name, {})
        return (held[key] for key in sorted(held))


def is_ipv4(text: str) -> bool:
    """Whether it is an IPv4 address."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def usable(endpoints: Iterable[tuple[SliceEndpoint, int]]) -> set[tuple[str, int]]:
    """Addresses and ports to send to: the ready ones; else those that serve while they end (KEP-1669)."""
    known = list(endpoints)
    ready = {(e.addresses[0], port) for e, port in known if e.conditions.ready is not False}
    return ready or {
        (e.addresses[0], port) for e, port in known if e.conditions.serving and e.conditions.terminating
    }
