"""Derives what the mesh sees from what its clusters say. Pure; it keeps nothing and looks nothing up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from operator import attrgetter
from typing import Protocol as Interface

from isthmus.clusters.parts import Backend, ServicePart, ServicePort, SlicePart
from isthmus.clusters.protocols import undeclared_protocol
from isthmus.model.service import (
    ClusterId,
    Kind,
    Network,
    Port,
    PortConflict,
    Protocol,
    Service,
    ServiceKey,
)
from isthmus.model.workload import Endpoint, Health, Locality, Workload


class Surroundings(Interface):
    """What a backend's own cluster knows around it."""

    cluster: ClusterId

    @property
    def network(self) -> Network:
        """Where its pods are that do not say otherwise."""
        ...

    def pod(self, namespace: str, name: str) -> Workload | None:
        """The pod of that name."""
        ...

    def locality(self, node: str) -> Locality:
        """Where that node stands, as far as it is known."""
        ...


def merge_service(key: ServiceKey, parts: Mapping[ClusterId, ServicePart]) -> Service:
    """One service out of its parts, at least one. Clusters count in the order of their names.

    The first cluster decides the kind; but where that has the service without an address and another with
    one, as remotes have the control plane's own, it is one with an address. Ports are united by number: the
    first cluster that has one names it, the first that declares a protocol decides it, and those that declare
    another are reported.
    """
    ordered = sorted(parts.items())
    first = ordered[0][1]
    kinds = {part.kind for part in parts.values()}
    kind = Kind.CLUSTER_IP if first.kind is Kind.HEADLESS and Kind.CLUSTER_IP in kinds else first.kind
    by_number: dict[int, list[tuple[ClusterId, ServicePort]]] = {}
    for cluster, part in ordered:
        for port in part.ports:
            by_number.setdefault(port.number, []).append((cluster, port))
    ports: list[Port] = []
    conflicts: list[PortConflict] = []
    for number, declarations in sorted(by_number.items()):
        declared = {c: p.protocol for c, p in declarations if p.protocol is not Protocol.SNIFFED}
        chosen = next(iter(declared.values()), undeclared_protocol(number))
        ports.append(Port(number, declarations[0][1].name, chosen))
        if len(set(declared.values())) > 1:
            conflicts.append(PortConflict(number, chosen, declared))
    return Service(
        key=key,
        kind=kind,
        ports=tuple(ports),
        addresses={cluster: part.addresses for cluster, part in ordered if part.addresses},
        clusters=frozenset(parts),
        external_name=first.external_name,
        conflicts=tuple(conflicts),
    )


_PREFERENCE = {Health.READY: 0, Health.DRAINING: 1, Health.UNREADY: 2}


Derived = Mapping[int, tuple[Endpoint, ...]]
"""Endpoints by service port number, sorted by (address, port), each of these once."""


def derive_endpoints(part: ServicePart, piece: SlicePart, around: Surroundings) -> Derived:
    """What one slice adds to one cluster's endpoints of its service.

    A slice's ports are matched by name with those of this cluster's own Service.
    """
    if part.kind is Kind.EXTERNAL_NAME:
        return {}
    numbers = {port.name: port.number for port in part.ports}
    found: dict[int, list[Endpoint]] = {}
    for subset in piece.subsets:
        targets = [(numbers[name], target) for name, target in subset.ports if name in numbers]
        for backend in subset.backends if targets else ():
            make = _endpoint_maker(backend, part, around)
            for number, target in targets:
                found.setdefault(number, []).append(make(target))
    return {number: _once_each(endpoints) for number, endpoints in found.items()}


def unite_slices(pieces: Iterable[Derived]) -> Derived:
    """One cluster's endpoints of one service, out of those of its slices."""
    found: dict[int, list[tuple[Endpoint, ...]]] = {}
    for piece in pieces:
        for number, endpoints in piece.items():
            found.setdefault(number, []).append(endpoints)
    return {
        number: parts[0] if len(parts) == 1 else _once_each(chain.from_iterable(parts))
        for number, parts in sorted(found.items())
    }


_place = attrgetter("address", "port")


def _once_each(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Sorted; an address that stands there several times is taken where it is healthiest (Kubernetes:
    EndpointSlice, "Duplicate endpoints").
    """
    ordered = sorted(endpoints, key=_place)
    if all(_place(one) != _place(next_) for one, next_ in pairwise(ordered)):
        return tuple(ordered)
    best: dict[tuple[str, int], Endpoint] = {}
    for endpoint in ordered:
        known = best.setdefault(_place(endpoint), endpoint)
        if known is not endpoint and _better(endpoint, known):
            best[_place(endpoint)] = endpoint
    return tuple(best.values())


def _endpoint_maker(backend: Backend, part: ServicePart, around: Surroundings) -> Callable[[int], Endpoint]:
    workload = around.pod(part.key.namespace, backend.pod) if backend.pod else None
    if workload is not None:
        network, locality = workload.network, workload.locality
    else:
        network, locality = around.network, around.locality(backend.node)
    if backend.zone and not any(locality):
        locality = _zone(backend.zone)
    awaited = workload is None and bool(backend.pod)
    ready = part.publish_not_ready and backend.health is Health.UNREADY
    health = Health.READY if ready else backend.health
    return lambda port: Endpoint(
        backend.address,
        port,
        health,
        around.cluster,
        network,
        locality,
        workload,
        backend.hostname,
        awaited=awaited,
    )


@lru_cache(maxsize=1024)
def _zone(zone: str) -> Locality:
    """Shared: there are few zones and many endpoints."""
    return Locality(zone=zone)


def _better(new: Endpoint, old: Endpoint) -> bool:
    """A total order, so that the slices' own order does not matter."""
    return _rank(new) < _rank(old)


def _rank(endpoint: Endpoint) -> tuple[object, ...]:
    pod = "" if endpoint.workload is None else endpoint.workload.key.name
    known = _PREFERENCE[endpoint.health], not pod, not endpoint.awaited
    return *known, endpoint.locality, pod, endpoint.hostname


def union(parts: Iterable[Mapping[int, tuple[Endpoint, ...]]]) -> dict[int, tuple[Endpoint, ...]]:
    """All clusters' endpoints of one service; `parts` come in the order of the clusters' names."""
    together: dict[int, list[tuple[Endpoint, ...]]] = {}
    for part in parts:
        for number, endpoints in part.items():
            together.setdefault(number, []).append(endpoints)
    return {
        number: pieces[0] if len(pieces) == 1 else tuple(chain.from_iterable(pieces))
        for number, pieces in sorted(together.items())
    }


@dataclass(frozen=True, slots=True)
class Double:
    """An endpoint that two clusters on one network claim; that of `served` is in force."""

    address: str
    served: ClusterId
    ignored: ClusterId


def without_doubles(endpoints: Sequence[Endpoint]) -> tuple[tuple[Endpoint, ...], tuple[Double, ...]]:
    """Endpoints of several clusters with each address and port once a network, and what was left out.

    Who names a Pod wins over who only knows its address, as remotes know those of the control plane: that is
    a reference, and no claim to report. Then the lower priority wins, then the first cluster by name: every
    replica decides alike.
    """
    chosen: dict[tuple[Network, str, int], Endpoint] = {}
    doubles: list[tuple[Endpoint, Endpoint]] = []
    for endpoint in endpoints:
        place = endpoint.network, endpoint.address, endpoint.port
        known = chosen.setdefault(place, endpoint)
        if known is not endpoint:
            first = _precedence(known) <= _precedence(endpoint)
            chosen[place], loser = (known, endpoint) if first else (endpoint, known)
            doubles.append((chosen[place], loser))
    if not doubles:
        return tuple(endpoints), ()
    losers = {id(loser) for _, loser in doubles}
    kept = tuple(endpoint for endpoint in endpoints if id(endpoint) not in losers)
    return kept, tuple(
        Double(winner.address, winner.cluster, loser.cluster)
        for winner, loser in doubles
        if _names_pod(loser)
    )


def _precedence(endpoint: Endpoint) -> tuple[bool, int, ClusterId]:
    return not _names_pod(endpoint), endpoint.priority, endpoint.cluster


def _names_pod(endpoint: Endpoint) -> bool:
    return endpoint.workload is not None or endpoint.awaited
