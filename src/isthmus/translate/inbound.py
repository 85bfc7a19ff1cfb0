"""The inbound side of a sidecar: `virtualInbound`, and the ports of the pod that services name.

It depends on nothing but those ports, on what the pod accepts on them, and on how it asks for policy, so pods
that are alike share it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from isthmus.config.accepted_tls import AcceptedTls
from isthmus.config.mesh import MeshConfig
from isthmus.config.peer_authentication import Mode
from isthmus.model.service import Protocol
from isthmus.model.workload import InboundPort
from isthmus.translate import filters, names, tls
from isthmus.translate.listeners import any_ipv6
from isthmus.translate.policy_checks import PolicyCheck, http_checks, tcp_checks
from isthmus.translate.routes import inbound_routes
from isthmus.translate.wire import duration, socket_address

INBOUND_PORT = 15006
"""Where iptables sends what the pod receives."""
_PATIENCE = Duration(seconds=5)
_INSIDE_HTTP = ("h2", "http/1.1")
"""Negotiated with clients that offer one of these; with others the first bytes tell the version."""
_Chain = listener_components_pb2.FilterChain
_Match = listener_components_pb2.FilterChainMatch


class OwnPort(NamedTuple):
    """One port of the pod as its sidecar treats it."""

    number: int
    protocol: Protocol
    service_port: int


@dataclass(frozen=True, slots=True)
class _Way:
    """One way in: which connections (TLS or not, "" for either; application protocols, none for any), whether
    their mutual TLS ends here, whether what is inside is read as HTTP, and whether they are closed instead.
    """

    transport: str
    protocols: Sequence[str] = ()
    secured: bool = False
    http: bool = False
    closed: bool = False


_MUTUAL = tls.ISTIO_HTTP + tls.ISTIO_TCP
_Ways: TypeAlias = Mapping[tuple[str, Mode], tuple[_Way, ...]]
_SECURED: _Ways = {
    ("http", Mode.PERMISSIVE): (
        _Way(tls.TLS, _MUTUAL, secured=True, http=True),
        _Way(tls.RAW_BUFFER, http=True),
    ),
    ("http", Mode.STRICT): (_Way(tls.TLS, secured=True, http=True),),
    ("http", Mode.DISABLE): (_Way("", http=True),),
    ("tcp", Mode.PERMISSIVE): (
        _Way(tls.TLS, _MUTUAL, secured=True),
        _Way(tls.TLS),
        _Way(tls.RAW_BUFFER),
    ),
    ("tcp", Mode.STRICT): (_Way(tls.TLS, secured=True),),
    ("tcp", Mode.DISABLE): (_Way(""),),
    ("sniffed", Mode.PERMISSIVE): (
        _Way(tls.TLS, tls.ISTIO_HTTP, secured=True, http=True),
        _Way(tls.TLS, tls.ISTIO_TCP, secured=True),
        _Way(tls.TLS),
        _Way(tls.RAW_BUFFER, filters.PLAIN_HTTP, http=True),
        _Way(tls.RAW_BUFFER),
    ),
    ("sniffed", Mode.STRICT): (
        _Way(tls.TLS, tls.ISTIO_HTTP, secured=True, http=True),
        _Way(tls.TLS, secured=True),
    ),
    ("sniffed", Mode.DISABLE): (_Way("", filters.PLAIN_HTTP, http=True), _Way("")),
}
"""By what the port carries and what it accepts. TLS that is not the mesh's is the application's own, and
passes as it is where plain text may (Istio: getFilterChainMatchOptions).
"""
_UNSECURED: _Ways = {
    (carries, mode): (_Way("", closed=True),) if mode is Mode.STRICT else _SECURED[carries, Mode.DISABLE]
    for carries, mode in _SECURED
}
"""Where there is no certificate."""


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


def virtual_inbound(
    ports: Iterable[OwnPort],
    accepted: AcceptedTls,
    mesh: MeshConfig,
    *,
    secured: bool,
    check: PolicyCheck | None = None,
    ipv6: bool = False,
) -> listener_pb2.Listener:
    """The listener on 15006: filter chains for each own port, and for all others. With a `check` it asks
    about what it lets in; with `ipv6` it takes what comes by IPv6, too.

    Without a certificate (not `secured`) it takes plain text where that is accepted, and otherwise nothing.
    A connection meant for 15006 itself would come back for ever, so it is closed.
    """
    own = tuple(ports)
    ways = _SECURED if secured else _UNSECURED
    listener = listener_pb2.Listener(
        name=names.VIRTUAL_INBOUND,
        address=socket_address(names.WILDCARD, INBOUND_PORT),
        additional_addresses=any_ipv6(INBOUND_PORT) if ipv6 else (),
        traffic_direction=base_pb2.TrafficDirection.Value("INBOUND"),
        continue_on_listener_filters_timeout=True,
        listener_filters_timeout=_patience(own, mesh),
        listener_filters=[filters.original_destination(), *_inspectors(own, accepted, secured=secured)],
        filter_chains=[
            _Chain(
                name=names.INBOUND_BLACK_HOLE_CHAIN,
                filter_chain_match=_Match(destination_port=UInt32Value(value=INBOUND_PORT)),
                filters=filters.tcp_filters(names.BLACK_HOLE_CLUSTER, mesh),
            )
        ],
    )
    listener.filter_chains.extend(_others(ways["tcp", accepted.mode], mesh, check))
    numbers = {port.number for port in own}
    for number, mode in accepted.ports:
        if number not in numbers and number != INBOUND_PORT:
            listener.filter_chains.extend(_others(ways["tcp", mode], mesh, check, number))
    for port in own:
        own_ways = ways[_carries(port), accepted.on(port.number)]
        listener.filter_chains.extend(_chains(port, own_ways, mesh, check))
    return listener


def _patience(own: Sequence[OwnPort], mesh: MeshConfig) -> Duration:
    """How long a client may be silent at first. Without a sniffed port nothing is read by it but whether it
    speaks TLS, and one that waits for the server to speak does not.
    """
    wanted = duration(mesh.protocol_detection_timeout)
    if mesh.protocol_detection_timeout or any(port.protocol is Protocol.SNIFFED for port in own):
        return wanted
    return _PATIENCE


def _inspectors(
    own: Sequence[OwnPort], accepted: AcceptedTls, *, secured: bool
) -> list[listener_components_pb2.ListenerFilter]:
    """TLS is looked for where it may be accepted; HTTP on sniffed ports, where it is not TLS."""
    found: list[listener_components_pb2.ListenerFilter] = []
    with_tls = [port for port, mode in accepted.ports if mode is not Mode.DISABLE]
    plain = [port for port, mode in accepted.ports if mode is Mode.DISABLE]
    if secured and accepted.mode is not Mode.DISABLE:
        found.append(filters.tls_inspector(but=plain))
    elif secured and with_tls:
        found.append(filters.tls_inspector(only=with_tls))
    sniffed = [port.number for port in own if port.protocol is Protocol.SNIFFED]
    if sniffed:
        found.append(filters.http_inspector(sniffed))
    return found


def _carries(port: OwnPort) -> str:
    if port.protocol.is_http:
        return "http"
    return "sniffed" if port.protocol is Protocol.SNIFFED else "tcp"


def _others(
    ways: Iterable[_Way], mesh: MeshConfig, check: PolicyCheck | None, port: int | None = None
) -> Iterable[_Chain]:
    """The chains of ports that no service names: of a single one, or of all of them."""
    for way in ways:
        chain = _Chain(
            name=names.VIRTUAL_INBOUND if port is None else names.listener(names.WILDCARD, port),
            filter_chain_match=_match(port, way),
            filters=_onwards(names.INBOUND_PASSTHROUGH_CLUSTER, way, mesh, check, port or 0),
        )
        yield _secured(chain, way, mesh)


def _chains(
    port: OwnPort, ways: Iterable[_Way], mesh: MeshConfig, check: PolicyCheck | None
) -> Iterable[_Chain]:
    """One own port's filter chains."""
    name = names.listener(names.WILDCARD, port.number)
    routes = inbound_routes(port.number, port.service_port, retry=port.protocol is not Protocol.GRPC)
    for way in ways:
        chain = _Chain(name=name, filter_chain_match=_match(port.number, way))
        if way.http:
            first = http_checks(check, port.number, mesh)
            chain.filters.extend(filters.inbound_http_filters(routes, f"inbound_{name}", mesh, first=first))
        else:
            cluster = names.inbound_cluster(port.number)
            chain.filters.extend(_onwards(cluster, way, mesh, check, port.number))
        yield _secured(chain, way, mesh)


def _onwards(
    cluster: str, way: _Way, mesh: MeshConfig, check: PolicyCheck | None, port: int
) -> list[filters.Filter]:
    """A connection's filters, as it is: to a cluster, or to its end."""
    if way.closed:
        return filters.tcp_filters(names.BLACK_HOLE_CLUSTER, mesh)
    return filters.tcp_filters(cluster, mesh, first=tcp_checks(check, port, mesh))


def _match(port: int | None, way: _Way) -> listener_components_pb2.FilterChainMatch:
    return _Match(
        destination_port=None if port is None else UInt32Value(value=port),
        transport_protocol=way.transport,
        application_protocols=way.protocols,
    )


def _secured(
    chain: listener_components_pb2.FilterChain, way: _Way, mesh: MeshConfig
) -> listener_components_pb2.FilterChain:
    """The chain, behind mutual TLS where its way in is."""
    if way.secured:
        chain.transport_socket.CopyFrom(tls.downstream(mesh, _INSIDE_HTTP if way.http else ()))
    return chain
