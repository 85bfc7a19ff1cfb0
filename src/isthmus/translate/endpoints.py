"""ClusterLoadAssignments: who stands behind a service's port, by priority and locality.

Written as bytes at once, by hand: this is what changes all day, and what a mesh has most of. Field numbers
are those of envoy/config/endpoint/v3/endpoint.proto and endpoint_components.proto.

An endpoint that takes mutual TLS is marked, and the cluster chooses its transport socket by that; one whose
Pod is still to come is left out until it is known, as it must never be taken for a plain one (Istio does the
same).

Gateways of other networks come in here when they come; until a network has a gateway its endpoints are
dialled directly, as Istio does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from envoy.config.core.v3 import health_check_pb2

from isthmus.lib.protobuf import integer, text
from isthmus.model.service import Network
from isthmus.model.workload import Endpoint, EndpointGroup, Health, Locality
from isthmus.translate import tls
from isthmus.translate.wire import serialise

_DRAINING = health_check_pb2.HealthStatus.Value("DRAINING")
_MARKED_FOR_TLS = text(3, serialise(tls.marked_for_tls()))

Place = tuple[int, Locality]
"""Priority and locality."""


@dataclass(slots=True)
class Members:
    """Endpoints of one place: the sum of their weights, and each as a field of its locality."""

    weight: int
    fields: bytes


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a group adds to its service's assignment. `some_drain`: then draining ones count as marked."""

    places: dict[Place, Members]
    some_ready: bool
    some_drain: bool


def encoded(
    group: EndpointGroup, takes_tls: Callable[[Endpoint], bool], *, mark_draining: bool = True
) -> Encoded:
    """A group's endpoints by place; those that are not ready or awaited are left out.

    `takes_tls` must say the same of one port of all pods that share their labels object.
    """
    around: dict[tuple[int, int, int, bool, int], tuple[bytes, bytes]] = {}
    found: dict[Place, list[bytes]] = {}
    weights: dict[Place, int] = {}
    some_ready = some_drain = False
    for endpoint in group.endpoints:
        health = endpoint.health
        if health is Health.UNREADY or endpoint.awaited:
            continue
        if health is Health.READY:
            some_ready, drains = True, False
        else:
            some_drain, drains = True, mark_draining
        address = endpoint.address.encode()
        weight = endpoint.weight if endpoint.weight > 1 else 1
        place = endpoint.priority, endpoint.locality
        labels = 0 if endpoint.workload is None else id(endpoint.workload.labels)
        alike = len(address), endpoint.port, weight, drains, labels
        if alike not in around:
            around[alike] = _around(len(address), endpoint.port, weight, drains, takes_tls(endpoint))
        head, tail = around[alike]
        fields = found.get(place)
        if fields is None:
            fields, weights[place] = found.setdefault(place, []), 0
        fields.append(head + address + tail)
        weights[place] += weight
    places = {place: Members(weights[place], b"".join(fields)) for place, fields in found.items()}
    return Encoded(places, some_ready, some_drain)


class Zone(NamedTuple):
    """Where clients are that prefer endpoints of their own zone."""

    network: Network
    region: str
    zone: str

    def rank(self, group: EndpointGroup, place: Place) -> Place:
        """The place with its priority among those of other distances: the zone, the region, the network, and
        then other networks in the same order (Istio: failoverPriority of PreferSameZone). What is stale comes
        after all that is not. A group's endpoints are of one network.
        """
        priority, locality = place
        distance = 0 if locality[:2] == self[1:] else 1 if locality.region == self.region else 2
        if group.endpoints[0].network != self.network:
            distance += 3
        return priority * 6 + distance, locality


def load_assignment(
    cluster_name: str,
    groups: Sequence[EndpointGroup],
    encode: Callable[[EndpointGroup, bool], Encoded],
    zone: Zone | None = None,
) -> bytes:
    """The serialised ClusterLoadAssignment of one cluster, localities in order of priority and name.

    `encode` is `encoded` by group and `mark_draining`, or remembers what that said. With a `zone` what is
    near it comes first.

    Envoy wants priorities from 0 on without gaps, so they are counted among those that can be used.
    Endpoints that are not ready are left out. Draining ones are marked so and get nothing new, unless none is
    ready: then they serve, as kube-proxy has it (KEP-1669, proxying terminating endpoints).
    """
    parts = [encode(group, True) for group in groups]
    if not any(part.some_ready for part in parts) and any(part.some_drain for part in parts):
        parts = [encode(group, False) for group in groups]
    places: dict[Place, list[Members]] = {}
    for group, part in zip(groups, parts, strict=True):
        for place, members in part.places.items():
            places.setdefault(zone.rank(group, place) if zone else place, []).append(members)
    ranks = {priority: rank for rank, priority in enumerate(sorted({priority for priority, _ in places}))}
    localities = [
        text(2, _locality(ranks[priority], locality, members))
        for (priority, locality), members in sorted(places.items(), key=itemgetter(0))
    ]
    return b"".join((text(1, cluster_name), *localities))


def _locality(rank: int, locality: Locality, members: Sequence[Members]) -> bytes:
    where = ((1, locality.region), (2, locality.zone), (3, locality.subzone))
    place = text(1, b"".join([text(number, name) for number, name in where if name]))
    weight = text(3, integer(1, sum(each.weight for each in members)))
    return b"".join((place, *[each.fields for each in members], weight, integer(5, rank)))


@lru_cache(maxsize=4096)
def _around(size: int, port: int, weight: int, draining: bool, secured: bool) -> tuple[bytes, bytes]:
    """What precedes and what follows an endpoint's address of that many bytes, in its field of a locality."""
    tail = integer(3, port) + _manner(weight, draining, secured)
    socket = text(2, bytes(size)) + integer(3, port)
    whole = text(2, text(1, text(1, text(1, socket))) + _manner(weight, draining, secured))
    return whole[: -len(tail) - size], tail


@lru_cache
def _manner(weight: int, draining: bool, secured: bool) -> bytes:
    """All of a member but where it is."""
    health = integer(2, _DRAINING) if draining else b""
    return health + (_MARKED_FOR_TLS if secured else b"") + text(4, integer(1, weight))
