"""ClusterLoadAssignments: who stands behind a service's port, by priority and locality.

Written as bytes at once: this is what changes all day. An endpoint that takes mutual TLS is marked, and the
cluster chooses its transport socket by that; one whose Pod is still to come is left out until it is known,
as it must never be taken for a plain one (Istio does the same).

Gateways of other networks come in here when they come; until a network has a gateway its endpoints are
dialled directly, as Istio does.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import itemgetter

from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from google.protobuf.wrappers_pb2 import UInt32Value

from isthmus.model.workload import Endpoint, Health, Locality
from isthmus.translate import tls
from isthmus.translate.wire import field, serialise, socket_address

_LOCALITIES = endpoint_pb2.ClusterLoadAssignment.ENDPOINTS_FIELD_NUMBER
_MEMBERS = endpoint_components_pb2.LocalityLbEndpoints.LB_ENDPOINTS_FIELD_NUMBER
_MOST_MEMBERS = 1 << 16
"""Endpoints remembered as bytes, over all services: some 20 MiB at the most."""
_DRAINING = health_check_pb2.HealthStatus.Value("DRAINING")
_UNKNOWN = health_check_pb2.HealthStatus.Value("UNKNOWN")


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
    head = serialise(endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster_name))
    return head + b"".join(
        field(_LOCALITIES, _locality(ranks[priority], locality, members, takes_tls, mark_draining=some_ready))
        for (priority, locality), members in sorted(places.items(), key=itemgetter(0))
    )


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
    place = base_pb2.Locality(region=locality.region, zone=locality.zone, sub_zone=locality.subzone)
    head = endpoint_components_pb2.LocalityLbEndpoints(locality=place)
    tail = endpoint_components_pb2.LocalityLbEndpoints(
        priority=rank, load_balancing_weight=UInt32Value(value=weight)
    )
    return serialise(head) + b"".join(members) + serialise(tail)


@lru_cache(maxsize=_MOST_MEMBERS)
def _member(address: str, port: int, weight: int, draining: bool, secured: bool) -> bytes:
    """One endpoint as a field of its locality. Remembered: of a large service few change at a time."""
    return field(
        _MEMBERS,
        serialise(
            endpoint_components_pb2.LbEndpoint(
                endpoint=endpoint_components_pb2.Endpoint(address=socket_address(address, port)),
                health_status=_DRAINING if draining else _UNKNOWN,
                load_balancing_weight=UInt32Value(value=weight),
                metadata=tls.marked_for_tls() if secured else None,
            )
        ),
    )
