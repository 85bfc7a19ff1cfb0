"""The inbound side of a sidecar: `virtualInbound` and the clusters of the pod's own ports.

It depends on nothing but the ports that services name, so pods with equal ports share it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from google.protobuf.wrappers_pb2 import UInt32Value

from isthmus.config.mesh import MeshConfig
from isthmus.model.service import Protocol
from isthmus.model.workload import InboundPort
from isthmus.translate import filters, names
from isthmus.translate.routes import inbound_routes
from isthmus.translate.wire import duration, socket_address

INBOUND_PORT = 15006
"""Where iptables sends what the pod receives."""
_Chain = listener_components_pb2.FilterChain
_Match = listener_components_pb2.FilterChainMatch


class OwnPort(NamedTuple):
    """One port of the pod as its sidecar treats it."""

    number: int
    protocol: Protocol
    service_port: int


def own_ports(ports: Iterable[InboundPort]) -> tuple[OwnPort, ...]:
    """The pod's ports, sorted, each once: where services disagree about one, the first by name is right.

    UDP is not redirected to the sidecar, and its own two ports are not the application's.
    """
    found: dict[int, OwnPort] = {}
    for port in sorted(ports, key=lambda port: (port.target_port, port.service, port.service_port)):
        if port.protocol is not Protocol.UDP and port.target_port not in (INBOUND_PORT, 15001):
            own = OwnPort(port.target_port, port.protocol, port.service_port)
            found.setdefault(port.target_port, own)
    return tuple(found.values())


def virtual_inbound(ports: Iterable[OwnPort], mesh: MeshConfig) -> listener_pb2.Listener:
    """The listener on 15006: a filter chain or two for each own port, and one for all others.

    A connection meant for 15006 itself would come back for ever, so it is closed.
    """
    own = tuple(ports)
    listener = listener_pb2.Listener(
        name=names.VIRTUAL_INBOUND,
        address=socket_address(names.WILDCARD, INBOUND_PORT),
        traffic_direction=base_pb2.TrafficDirection.Value("INBOUND"),
        continue_on_listener_filters_timeout=True,
        listener_filters_timeout=duration(mesh.protocol_detection_timeout),
        listener_filters=[filters.original_destination()],
        filter_chains=[
            _Chain(
                name=names.INBOUND_BLACK_HOLE_CHAIN,
                filter_chain_match=_Match(destination_port=UInt32Value(value=INBOUND_PORT)),
                filters=filters.tcp_filters(names.BLACK_HOLE_CLUSTER, mesh),
            ),
            _Chain(
                name=names.VIRTUAL_INBOUND,
                filters=filters.tcp_filters(names.INBOUND_PASSTHROUGH_CLUSTER, mesh),
            ),
        ],
    )
    sniffed = [port.number for port in own if port.protocol is Protocol.SNIFFED]
    if sniffed:
        listener.listener_filters.append(filters.http_inspector(sniffed))
    for port in own:
        listener.filter_chains.extend(_chains(port, mesh))
    return listener


def _chains(port: OwnPort, mesh: MeshConfig) -> list[listener_components_pb2.FilterChain]:
    """One own port's filter chains, all in plain text."""
    if port.protocol.is_http:
        return [_http_chain(port, _match(port), mesh)]
    if port.protocol is Protocol.SNIFFED:
        http = _match(port)
        http.application_protocols.extend(filters.PLAIN_HTTP)
        return [_http_chain(port, http, mesh), _tcp_chain(port, mesh)]
    return [_tcp_chain(port, mesh)]


def _match(port: OwnPort) -> listener_components_pb2.FilterChainMatch:
    return _Match(destination_port=UInt32Value(value=port.number), transport_protocol=filters.RAW_BUFFER)


def _http_chain(
    port: OwnPort, match: listener_components_pb2.FilterChainMatch, mesh: MeshConfig
) -> listener_components_pb2.FilterChain:
    name = names.listener(names.WILDCARD, port.number)
    routes = inbound_routes(port.number, port.service_port, retry=port.protocol is not Protocol.GRPC)
    return _Chain(
        name=name,
        filter_chain_match=match,
        filters=filters.inbound_http_filters(routes, f"inbound_{name}", mesh),
    )


def _tcp_chain(port: OwnPort, mesh: MeshConfig) -> listener_components_pb2.FilterChain:
    return _Chain(
        name=names.listener(names.WILDCARD, port.number),
        filter_chain_match=_match(port),
        filters=filters.tcp_filters(names.inbound_cluster(port.number), mesh),
    )
