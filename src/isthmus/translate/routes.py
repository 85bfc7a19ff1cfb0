"""RouteConfigurations: which host names mean which cluster, for each port that carries HTTP.

A configuration for a busy port has a virtual host for every service there, so virtual hosts are serialised
once a service and joined; nothing here looks at more than one service at a time.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from isthmus.config.mesh import MeshConfig, OutboundMode
from isthmus.lib.protobuf_template import Templates
from isthmus.model.service import ClusterId, Kind, Port, Protocol, Service, ServiceKey
from isthmus.translate import names
from isthmus.translate.wire import NO_TIME, pack, serialise

_RETRY_ON = "connect-failure,refused-stream,reset-before-request,unavailable,cancelled,retriable-status-codes"
"""Failures after which the request was never processed, so that repeating it is safe for any method. Istio's
list, and `reset-before-request` for a connection that the endpoint closed as it went away."""
_SAFE_METHODS = "GET|HEAD|OPTIONS|TRACE"
_RETRY_SAFE_ON = f"{_RETRY_ON},reset"
"""For safe methods (RFC 9110, 9.2.1 and 9.2.2), which may be repeated even if they were processed:
none is lost with the endpoint that was about to answer it."""
_RETRY_SAFE_STATUS = 503
"""What a sidecar answers whose application has gone before it; retried for safe methods too."""
_RETRY_ON_INBOUND = "reset-before-request"


class VirtualHostSpec(NamedTuple):
    """All that a service's virtual host on one port depends on, beside the proxy's own namespace."""

    service: ServiceKey
    port: int
    headless: bool
    addresses: tuple[str, ...]


def virtual_host_specs(service: Service, cluster: ClusterId) -> dict[str, VirtualHostSpec]:
    """The virtual hosts of a service as seen from one cluster, by the route configuration that holds them.

    Ports that may carry HTTP are in the configuration of their number; a sniffed port has one of its own too,
    for the listener at its own address.
    """
    addresses = service.addresses.get(cluster, ())
    specs: dict[str, VirtualHostSpec] = {}
    for port in service.ports:
        if port.protocol.is_http or port.protocol is Protocol.SNIFFED:
            spec = VirtualHostSpec(service.key, port.number, service.kind is Kind.HEADLESS, addresses)
            specs[names.port_route(port.number)] = spec
            if _has_own_route(service, port, addresses):
                specs[names.service_route(service.key, port.number)] = spec
    return specs


def _has_own_route(service: Service, port: Port, addresses: tuple[str, ...]) -> bool:
    return port.protocol is Protocol.SNIFFED and (bool(addresses) or service.kind is Kind.HEADLESS)


def domains(spec: VirtualHostSpec, *, same_namespace: bool) -> list[str]:
    """Every host by which a proxy may call the service, without ports (these are ignored in matching).

    Istio's aliases: the full name, also with a dot at its end, its shortenings as the resolver of a pod would
    complete them, the virtual addresses; for headless services each pod's own name below those names too.
    """
    namespace, name = spec.service
    full = spec.service.hostname()
    hosts = [full, f"{full}."]
    if same_namespace:
        hosts += [name, f"{name}.{namespace}.svc", f"{name}.{namespace}"]
    else:
        hosts += [f"{name}.{namespace}", f"{name}.{namespace}.svc"]
    found = hosts + [_host_of(address) for address in spec.addresses]
    return found + [f"*.{host}" for host in hosts] if spec.headless else found


def without_addresses(spec: VirtualHostSpec, taken: Iterable[str]) -> VirtualHostSpec:
    """The same virtual host without addresses that another service's already has (Envoy refuses two)."""
    gone = frozenset(taken)
    return spec._replace(addresses=tuple(address for address in spec.addresses if address not in gone))


def virtual_host(spec: VirtualHostSpec, hosts: Sequence[str], templates: Templates) -> bytes:
    """One virtual host as a part of a RouteConfiguration, serialised."""

    def specimen(strings: Sequence[str]) -> route_pb2.RouteConfiguration:
        namespace, name, *domains = strings
        return _virtual_host(ServiceKey(namespace, name), spec.port, domains)

    return templates.fill((spec.port, len(hosts)), (*spec.service, *hosts), specimen)


def _virtual_host(service: ServiceKey, port: int, domains: Sequence[str]) -> route_pb2.RouteConfiguration:
    cluster = names.outbound_cluster(service, port)
    host = route_components_pb2.VirtualHost(
        name=names.service_route(service, port),
        domains=domains,
        routes=[_safe_route(cluster), _route("default", cluster, _outbound_retries(_RETRY_ON))],
        include_request_attempt_count=True,
    )
    return route_pb2.RouteConfiguration(virtual_hosts=[host])


def port_routes(name: str, virtual_hosts: Iterable[bytes], mesh: MeshConfig) -> bytes:
    """The routes of every service on one port; the rest is let through or refused, as mesh config says."""
    tail = route_pb2.RouteConfiguration(virtual_hosts=[_catch_all(mesh)])
    return b"".join([_head(name), *virtual_hosts, serialise(tail)])


def service_routes(name: str, spec: VirtualHostSpec, templates: Templates) -> bytes:
    """The routes of one sniffed port: whatever the host is called, the listener's address has chosen it."""
    return _head(name) + virtual_host(spec, ["*"], templates)


def inbound_routes(port: int, service_port: int, *, retry: bool) -> route_pb2.RouteConfiguration:
    """Everything to one of the pod's own ports. Not retried where gRPC may stream (as in Istio)."""
    cluster = names.inbound_cluster(port)
    retries = route_components_pb2.RetryPolicy(retry_on=_RETRY_ON_INBOUND, num_retries=UInt32Value(value=2))
    host = route_components_pb2.VirtualHost(
        name=names.inbound_virtual_host(service_port),
        domains=["*"],
        routes=[_route("default", cluster, retries if retry else None)],
    )
    return route_pb2.RouteConfiguration(
        name=cluster, virtual_hosts=[host], validate_clusters=BoolValue(value=False)
    )


def _head(name: str) -> bytes:
    return serialise(
        route_pb2.RouteConfiguration(
            name=name, validate_clusters=BoolValue(value=False), ignore_port_in_host_matching=True
        )
    )


def _route(
    name: str, cluster: str, retries: route_components_pb2.RetryPolicy | None
) -> route_components_pb2.Route:
    """Every path to one cluster, without a time limit but the one a gRPC caller asks for itself."""
    return route_components_pb2.Route(
        name=name,
        match=route_components_pb2.RouteMatch(prefix="/"),
        route=route_components_pb2.RouteAction(
            cluster=cluster,
            timeout=NO_TIME,
            max_stream_duration=route_components_pb2.RouteAction.MaxStreamDuration(
                max_stream_duration=NO_TIME, grpc_timeout_header_max=NO_TIME
            ),
            retry_policy=retries,
        ),
    )


def _safe_route(cluster: str) -> route_components_pb2.Route:
    """Requests of safe methods to one cluster, which are retried more readily."""
    retries = _outbound_retries(_RETRY_SAFE_ON)
    retries.retriable_status_codes.append(_RETRY_SAFE_STATUS)
    route = _route("default", cluster, retries)
    methods = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=_SAFE_METHODS))
    route.match.headers.append(route_components_pb2.HeaderMatcher(name=":method", string_match=methods))
    return route


def _outbound_retries(retry_on: str) -> route_components_pb2.RetryPolicy:
    return route_components_pb2.RetryPolicy(
        retry_on=retry_on,
        num_retries=UInt32Value(value=2),
        host_selection_retry_max_attempts=5,
        retry_host_predicate=[
            route_components_pb2.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=pack(previous_hosts_pb2.PreviousHostsPredicate()),
            )
        ],
    )


def _catch_all(mesh: MeshConfig) -> route_components_pb2.VirtualHost:
    match mesh.outbound_traffic_policy.mode:
        case OutboundMode.ALLOW_ANY:
            name, route = names.ALLOW_ANY, _route(names.ALLOW_ANY, names.PASSTHROUGH_CLUSTER, None)
        case OutboundMode.REGISTRY_ONLY:
            name = names.BLOCK_ALL
            route = route_components_pb2.Route(
                name=name,
                match=route_components_pb2.RouteMatch(prefix="/"),
                direct_response=route_components_pb2.DirectResponseAction(status=502),
            )
    return route_components_pb2.VirtualHost(
        name=name, domains=["*"], routes=[route], include_request_attempt_count=True
    )


def _host_of(address: str) -> str:
    return f"[{address}]" if ":" in address else address
