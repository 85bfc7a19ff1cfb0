"""ClusterLoadAssignments: who stands behind a service's port, by priority and locality.

Written as bytes at once, by hand: this is what changes all day, and what a mesh has most of. Field numbers
are those of envoy/config/endpoint/v3/endpoint.proto and endpoint_components.proto.

An endpoint that takes mutual TLS is marked, and the cluster chooses its transport socket by that; one whose
Pod is still to come is left out until it is known, as it must never be taken for a plain one (Istio does the
same).

Gateways of other networks come in here when they come; until a network has a gateway its endpoints are
dialled directly, as Istio does.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import itemgetter

from envoy.config.core.v3 import health_check_pb2

from isthmus.lib.protobuf import integer, text
from isthmus.model.workload import Endpoint, Health, Locality
from isthmus.translate import tls
from isthmus.translate.wire import serialise

_MOST_MEMBERS = 1 << 18
"""Endpoints remembered as bytes, over all services, some 350 bytes each. Were there more in use than this,
none would be found again, as a service's are always asked for in one order.
"""
_DRAINING = health_check_pb2.HealthStatus.Value("DRAINING")
_MARKED_FOR_TLS = text(3, serialise(tls.marked_for_tls()))


def load_assignment(
    cluster_name: str, endpoints: Sequence[Endpoint], takes_tls: Callable[[Endpoint], bool]
) -> bytes:
    """The serialised ClusterLoadAssignment of one cluster, localities in order of priority and name.

    Envoy wants priorities from 0 on without gaps, so they are counted among those that can be used.
    Endpoints that are not ready are left out. Draining ones are marked so and get nothing new, unless none is
    ready: then they serve, as kube-proxy has it (KEP-1669, proxying terminating endpoints).
    """
    usable = [each for each in endpoints if each.health is not Health.UNREADY and not each.awaited]
    some_ready = any(endpoint.health is Health.READY for endpoint in usable)
    places: dict[tuple[int, Locality], list[Endpoint]] = {}
    for endpoint in usable:
        places.setdefault((endpoint.priority, endpoint.locality), []).append(endpoint)
    ranks = {priority: rank for rank, priority in enumerate(sorted({priority for priority, _ in places}))}
    groups = [
        text(2, _locality(ranks[priority], locality, members, takes_tls, mark_draining=some_ready))
        for (priority, locality), members in sorted(places.items(), key=itemgetter(0))
    ]
    return b"".join((text(1, cluster_name), *groups))


def _locality(
    rank: int,
    locality: Locality,
    endpoints: Iterable[Endpoint],
    takes_tls: Callable[[Endpoint], bool],
    *,
    mark_draining: bool,
) -> bytes:
    weight = 0
    members: list[bytes] = []
    for endpoint in endpoints:
        share = max(endpoint.weight, 1)
        weight += share
        draining = mark_draining and endpoint.health is Health.DRAINING
        members.append(_member(endpoint.address, endpoint.port, share, draining, takes_tls(endpoint)))
    where = ((1, locality.region), (2, locality.zone), (3, locality.subzone))
    place = text(1, b"".join([text(number, name) for number, name in where if name]))
    return b"".join((place, *members, text(3, integer(1, weight)), integer(5, rank)))


@lru_cache(maxsize=_MOST_MEMBERS)
def _member(address: str, port: int, weight: int, draining: bool, secured: bool) -> bytes:
    """One endpoint as a field of its locality. Remembered: of a large service few change at a time."""
    socket = text(2, address) + integer(3, port)
    return text(2, text(1, text(1, text(1, socket))) + _manner(weight, draining, secured))


@lru_cache
def _manner(weight: int, draining: bool, secured: bool) -> bytes:
    """All of a member but where it is."""
    health = integer(2, _DRAINING) if draining else b""
    return health + (_MARKED_FOR_TLS if secured else b"") + text(4, integer(1, weight))
