"""Keys of scopes: what each depends on, so that proxies with equal keys share it.

Keys are made, hashed and compared for every proxy that comes, so they are tuples; `what` tells apart those
that could be equal otherwise.
"""

from typing import NamedTuple

from isthmus.config.accepted_tls import AcceptedTls
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus.model.service import ClusterId
from isthmus.translate.endpoints import Zone
from isthmus.translate.inbound import OwnPort
from isthmus.translate.policy_checks import PolicyCheck


class ClustersKey(NamedTuple):
    """Outbound clusters, for proxies that hold a certificate or those that do not; with a `namespace` the
    restricted ones that it sees.
    """

    secured: bool
    namespace: str = ""
    what: str = CLUSTER


class EndpointsKey(NamedTuple):
    """The endpoints of outbound clusters: the same for all, while networks have no gateways; with a
    `namespace` those of the restricted ones that it sees.
    """

    namespace: str = ""
    what: str = ENDPOINT


class NearKey(NamedTuple):
    """In one cluster the endpoints of its cluster-local services, and the name table: as a namespace sees
    them, or "" for all that see nothing restricted.
    """

    cluster: ClusterId
    namespace: str
    what: str = ENDPOINT


class ZoneEndpointsKey(NamedTuple):
    """The endpoints of services whose clients prefer their own zone; `namespace` as above."""

    zone: Zone
    namespace: str
    what: str = ENDPOINT


class NodeEndpointsKey(NamedTuple):
    """The endpoints of node-local services, on one node; `namespace` as above."""

    cluster: ClusterId
    node: str
    namespace: str
    what: str = ENDPOINT


class ListenersKey(NamedTuple):
    """Outbound listeners, for pods that have an IPv6 address or those that do not; with a `namespace` the
    restricted ones that it sees.
    """

    cluster: ClusterId
    ipv6: bool
    namespace: str = ""
    what: str = LISTENER


class RoutesKey(NamedTuple):
    """Outbound routes, by the namespace whose short names they know."""

    cluster: ClusterId
    namespace: str
    what: str = ROUTE


class InboundKey(NamedTuple):
    """The inbound side of pods that are alike."""

    ports: tuple[OwnPort, ...]
    accepted: AcceptedTls
    secured: bool
    check: PolicyCheck | None
    ipv6: bool
