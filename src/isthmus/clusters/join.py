"""Derives what the mesh sees from what its clusters say. Pure; it keeps nothing and looks nothing up."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Protocol as Interface

from msgspec.structs import replace

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
from isthmus.model.workload import Endpoint, EndpointGroup, Health, Locality, Workload


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

    The first cluster decides the kind, and whether clients stay on their nodes or prefer their zones; but
    where that has the service without an address and another with one, as remotes have the control plane's
    own, it is one with an address. Ports are united by number: the first cluster that has one names it, the
    first that declares a protocol decides it, and those that declare another are reported. So it is with
    whose proxies are told of it.
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
    exports = {cluster: part.export_to for cluster, part in ordered if part.export_to}
    return Service(
        key=key,
        kind=kind,
        ports=tuple(ports),
        addresses={cluster: part.addresses for cluster, part in ordered if part.addresses},
        clusters=frozenset(parts),
        external_name=first.external_name,
        node_local=first.node_local,
        same_zone=first.same_zone,
        export_to=next(iter(exports.values()), ()),
        exports=exports if len(set(exports.values())) > 1 else {},
        conflicts=tuple(conflicts),
    )


_NOWHERE: frozenset[str] = frozenset()
_PREFERENCE = {Health.READY: 0, Health.DRAINING: 1, Health.UNREADY: 2}


Derived = Mapping[int, EndpointGroup]
"""What one slice comes to: endpoints by service port number, each address and port once, sorted by these."""
Groups = Mapping[int, tuple[EndpointGroup, ...]]
"""Endpoints by service port number, group by group."""


def flat(groups: Groups) -> dict[int, tuple[Endpoint, ...]]:
    """The endpoints without their groups."""
    return {number: tuple(_endpoints(some)) for number, some in groups.items()}


def _endpoints(groups: Iterable[EndpointGroup]) -> Iterator[Endpoint]:
    return chain.from_iterable(group.endpoints for group in groups)


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
            made = _endpoint(backend, targets[0][1], part, around)
            for number, target in targets:
                same = target == made.port
                found.setdefault(number, []).append(made if same else replace(made, port=target))
    return {number: EndpointGroup(_once_each(endpoints)) for number, endpoints in found.items()}


def unite_slices(pieces: Iterable[Derived]) -> Groups:
    """One cluster's endpoints of one service, out of those of its slices, which come in a fixed order."""
    by_port = _by_port((number, (group,)) for piece in pieces for number, group in piece.items())
    return {
        number: groups if _disjoint(groups) else (EndpointGroup(_once_each(_endpoints(groups))),)
        for number, groups in by_port
    }


def _by_port(
    parts: Iterable[tuple[int, tuple[EndpointGroup, ...]]],
) -> list[tuple[int, tuple[EndpointGroup, ...]]]:
    """Groups of the same port put together, in the order in which they come; sorted by port."""
    found: dict[int, list[EndpointGroup]] = {}
    for number, groups in parts:
        found.setdefault(number, []).extend(groups)
    return [(number, tuple(groups)) for number, groups in sorted(found.items())]


def _disjoint(groups: Sequence[EndpointGroup]) -> bool:
    """Whether no address is in two of the groups, whatever its network."""
    if len(groups) == 1:
        return True
    return _distinct([some for group in groups for some in group.places.values()])


def _distinct(sets: Sequence[frozenset[str]]) -> bool:
    return len(frozenset[str]().union(*sets)) == sum(map(len, sets))


_place = attrgetter("address", "port")


def _once_each(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Sorted; an address that stands there several times is taken where it is healthiest (Kubernetes:
    EndpointSlice, "Duplicate endpoints").
    """
    ordered = sorted(endpoints, key=_place)
    if len(set(map(_place, ordered))) == len(ordered):
        return tuple(ordered)
    best: dict[tuple[str, int], Endpoint] = {}
    for endpoint in ordered:
        known = best.setdefault(_place(endpoint), endpoint)
        if known is not endpoint and _better(endpoint, known):
            best[_place(endpoint)] = endpoint
    return tuple(best.values())


def _endpoint(backend: Backend, port: int, part: ServicePart, around: Surroundings) -> Endpoint:
    workload = around.pod(part.key.namespace, backend.pod) if backend.pod else None
    if workload is not None:
        network, locality = workload.network, workload.locality
    else:
        network, locality = around.network, around.locality(backend.node)
    if backend.zone and not any(locality):
        locality = _zone(backend.zone)
    ready = part.publish_not_ready and backend.health is Health.UNREADY
    return Endpoint(
        backend.address,
        port,
        Health.READY if ready else backend.health,
        around.cluster,
        network,
        locality,
        workload,
        backend.hostname,
        awaited=workload is None and bool(backend.pod),
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


def union(parts: Iterable[Groups]) -> Groups:
    """All clusters' endpoints of one service; `parts` come in the order of the clusters' names."""
    return dict(_by_port((number, groups) for part in parts for number, groups in part.items()))


@dataclass(frozen=True, slots=True)
class Double:
    """An endpoint that two clusters on one network claim; that of `served` is in force."""

    address: str
    served: ClusterId
    ignored: ClusterId


def without_doubles(
    groups: tuple[EndpointGroup, ...],
) -> tuple[tuple[EndpointGroup, ...], tuple[Double, ...]]:
    """Endpoints of several clusters with each address and port once a network, and what was left out.

    Who names a Pod wins over who only knows its address, as remotes know those of the control plane: that is
    a reference, and no claim to report. Then the lower priority wins, then the first cluster by name: every
    replica decides alike.
    """
    networks = {network for group in groups for network in group.places}
    if all(_distinct([group.places.get(each, _NOWHERE) for group in groups]) for each in networks):
        return groups, ()
    chosen: dict[tuple[Network, str, int], Endpoint] = {}
    doubles: list[tuple[Endpoint, Endpoint]] = []
    for endpoint in _endpoints(groups):
        place = endpoint.network, endpoint.address, endpoint.port
        known = chosen.setdefault(place, endpoint)
        if known is not endpoint:
            first = _precedence(known) <= _precedence(endpoint)
            chosen[place], loser = (known, endpoint) if first else (endpoint, known)
            doubles.append((chosen[place], loser))
    if not doubles:
        return groups, ()
    losers = {id(loser) for _, loser in doubles}
    kept = EndpointGroup(endpoint for endpoint in _endpoints(groups) if id(endpoint) not in losers)
    return (kept,), tuple(
        Double(winner.address, winner.cluster, loser.cluster)
        for winner, loser in doubles
        if _names_pod(loser)
    )


def _precedence(endpoint: Endpoint) -> tuple[bool, int, ClusterId]:
    return not _names_pod(endpoint), endpoint.priority, endpoint.cluster


def _names_pod(endpoint: Endpoint) -> bool:
    return endpoint.workload is not None or endpoint.awaited
