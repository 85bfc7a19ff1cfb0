"""Keys of scopes: what each depends on, so that proxies with equal keys share it.

Keys are made, hashed and compared for every proxy that comes, so they are tuples; `what` tells apart those
that could be equal otherwise.
"""

from typing import NamedTuple

from isthmus.config.accepted_tls import AcceptedTls
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus.model.service import ClusterId
from isthmus.translate.inbound import OwnPort
from isthmus.translate.policy_checks import PolicyCheck


class ClustersKey(NamedTuple):
    """Outbound clusters, for proxies that hold a certificate or those that do not."""

    secured: bool
    what: str = CLUSTER


class EndpointsKey(NamedTuple):
    """The endpoints of outbound clusters: the same for all, while networks have no gateways; with a
    `cluster` those of its cluster-local services, and the name table there.
    """

    cluster: ClusterId | None = None
    what: str = ENDPOINT


class NodeEndpointsKey(NamedTuple):
    """The endpoints of node-local services, on one node."""

    cluster: ClusterId
    node: str
    what: str = ENDPOINT


class ListenersKey(NamedTuple):
    """Outbound listeners, for pods that have an IPv6 address or those that do not."""

    cluster: ClusterId
    ipv6: bool
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
