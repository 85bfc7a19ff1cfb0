"""Outbound listeners: where a pod's own connections end up, by the address they were meant for.

`virtualOutbound` receives everything from iptables and hands each connection to the listener of its original
destination, which is bound to no port: `0.0.0.0_PORT` where HTTP tells services apart by host, and one at a
service's own address where only the address can tell (TCP, and sniffed ports). So a TCP and an HTTP service
may share a port number. What no listener wants goes to `names.PASSTHROUGH_CLUSTER`, or nowhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from isthmus.config.mesh import MeshConfig, OutboundMode
from isthmus.lib.protobuf_template import Templates
from isthmus.model.service import ClusterId, Kind, Port, Protocol, Service, ServiceKey
from isthmus.translate import filters, names, tls
from isthmus.translate.wire import NO_TIME, duration, serialise, socket_address

OUTBOUND_PORT = 15001
"""Where iptables sends what the pod sends."""
_OUTBOUND = base_pb2.TrafficDirection.Value("OUTBOUND")
_Chain = listener_components_pb2.FilterChain
_Match = listener_components_pb2.FilterChainMatch


class Reading(Enum):
    """How a listener reads its connections."""

    HTTP = "http"
    TCP = "tcp"
    SNIFFED = "sniffed"


@dataclass(frozen=True, slots=True)
class ListenerSpec:
    """All that an outbound listener depends on beside the mesh config.

    `service` is None where many share it.
    """

    address: str
    port: int
    reading: Reading
    service: ServiceKey | None


def listener_specs(service: Service, cluster: ClusterId, backends: Iterable[str]) -> dict[str, ListenerSpec]:
    """The listeners that a service needs in proxies of one cluster, by name.

    `backends` are the addresses of a headless service's endpoints, which its clients dial directly. A service
    without an address in the proxy's cluster has none but HTTP's, as its name means no address there; so has
    an external name, whose addresses only DNS knows.
    """
    own = backends if service.kind is Kind.HEADLESS else service.addresses.get(cluster, ())
    addresses = tuple(own)
    specs: dict[str, ListenerSpec] = {}
    for port in service.ports:
        specs.update((names.listener(s.address, s.port), s) for s in _of_port(service, port, addresses))
    return specs


def _of_port(service: Service, port: Port, addresses: tuple[str, ...]) -> list[ListenerSpec]:
    match port.protocol:
        case Protocol.HTTP | Protocol.HTTP2 | Protocol.GRPC:
            return [ListenerSpec(names.WILDCARD, port.number, Reading.HTTP, None)]
        case Protocol.TCP | Protocol.TLS | Protocol.HTTPS:
            return [ListenerSpec(address, port.number, Reading.TCP, service.key) for address in addresses]
        case Protocol.SNIFFED:
            return [ListenerSpec(address, port.number, Reading.SNIFFED, service.key) for address in addresses]
        case Protocol.UDP:
            return []


def encoded_listener(
    spec: ListenerSpec, mesh: MeshConfig, templates: Templates, *, ipv6: bool = False
) -> bytes:
    """`outbound_listener`, serialised. `templates` are of this mesh config."""
    if spec.service is None:
        return serialise(outbound_listener(spec, mesh, ipv6=ipv6))

    def specimen(strings: Sequence[str]) -> listener_pb2.Listener:
        address, namespace, name = strings
        return outbound_listener(replace(spec, address=address, service=ServiceKey(namespace, name)), mesh)

    return templates.fill((spec.port, spec.reading), (spec.address, *spec.service), specimen)


def outbound_listener(spec: ListenerSpec, mesh: MeshConfig, *, ipv6: bool = False) -> listener_pb2.Listener:
    """The listener of one address and port. One for any address is for any of IPv6 too, with `ipv6`.

    Its address and the service's name are joined with text and not looked into: see `encoded_listener`.
    """
    name = names.listener(spec.address, spec.port)
    listener = listener_pb2.Listener(
        name=name,
        address=socket_address(spec.address, spec.port),
        additional_addresses=any_ipv6(spec.port) if ipv6 and spec.service is None else (),
        bind_to_port=BoolValue(value=False),
        traffic_direction=_OUTBOUND,
        continue_on_listener_filters_timeout=True,
        listener_filters_timeout=_patience(spec, mesh),
    )
    if spec.reading is not Reading.TCP:
        listener.listener_filters.append(filters.http_inspector())
        listener.filter_chains.append(_http_chain(spec, name, mesh))
    match spec.reading:
        case Reading.HTTP:
            listener.default_filter_chain.CopyFrom(
                _Chain(name=names.PASSTHROUGH_CHAIN, filters=filters.tcp_filters(_elsewhere(mesh), mesh))
            )
        case Reading.SNIFFED:
            listener.default_filter_chain.CopyFrom(_tcp_chain(spec, mesh))
        case Reading.TCP:
            listener.filter_chains.append(_tcp_chain(spec, mesh))
    return listener


def any_ipv6(port: int) -> Sequence[listener_pb2.AdditionalAddress]:
    """Any IPv6 address, beside any of IPv4: for pods that have one, as only there it can be bound."""
    return (listener_pb2.AdditionalAddress(address=socket_address(names.WILDCARD_IPV6, port)),)


def virtual_outbound(mesh: MeshConfig, *, ipv6: bool = False) -> listener_pb2.Listener:
    """The listener on 15001; it keeps only what no other listener's address matches.

    A connection meant for 15001 itself would come back for ever, so it is closed.
    """
    return listener_pb2.Listener(
        name=names.VIRTUAL_OUTBOUND,
        address=socket_address(names.WILDCARD, OUTBOUND_PORT),
        additional_addresses=any_ipv6(OUTBOUND_PORT) if ipv6 else (),
        use_original_dst=BoolValue(value=True),
        traffic_direction=_OUTBOUND,
        filter_chains=[
            _Chain(
                name=names.OUTBOUND_BLACK_HOLE_CHAIN,
                filter_chain_match=_Match(destination_port=UInt32Value(value=OUTBOUND_PORT)),
                filters=filters.tcp_filters(names.BLACK_HOLE_CLUSTER, mesh),
            ),
            _Chain(
                name=names.OUTBOUND_CATCH_ALL_CHAIN,
                filters=filters.tcp_filters(_elsewhere(mesh), mesh),
            ),
        ],
    )


def _patience(spec: ListenerSpec, mesh: MeshConfig) -> Duration:
    return NO_TIME if spec.reading is Reading.TCP else duration(mesh.protocol_detection_timeout)


def _http_chain(spec: ListenerSpec, name: str, mesh: MeshConfig) -> listener_components_pb2.FilterChain:
    route = names.port_route(spec.port)
    if spec.service is not None:
        route = names.service_route(spec.service, spec.port)
    return _Chain(
        filter_chain_match=_Match(
            transport_protocol=tls.RAW_BUFFER, application_protocols=filters.PLAIN_HTTP
        ),
        filters=filters.outbound_http_filters(route, f"outbound_{name}", mesh),
    )


def _tcp_chain(spec: ListenerSpec, mesh: MeshConfig) -> listener_components_pb2.FilterChain:
    if spec.service is None:
        raise ValueError(f"{spec} hands connections to no service")
    return _Chain(filters=filters.tcp_filters(names.outbound_cluster(spec.service, spec.port), mesh))


def _elsewhere(mesh: MeshConfig) -> str:
    """The cluster for destinations that no service names."""
    match mesh.outbound_traffic_policy.mode:
        case OutboundMode.ALLOW_ANY:
            return names.PASSTHROUGH_CLUSTER
        case OutboundMode.REGISTRY_ONLY:
            return names.BLACK_HOLE_CLUSTER
