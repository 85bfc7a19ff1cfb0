"""Envoy clusters: one for each port of each service, one for each of the pod's own ports, and the fixed ones.

Clusters say how to connect; who is behind them comes by EDS (`endpoints.py`), and so does which of them take
mutual TLS.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, protocol_pb2, socket_option_pb2
from envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.clusters.common.dns.v3 import dns_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions as _HttpOptions
from envoy.type.v3 import percent_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from isthmus.config.mesh import POLICY_MTLS_PORT, MeshConfig
from isthmus.lib.protobuf_template import Templates
from isthmus.model.service import Kind, Protocol, Service, ServiceKey
from isthmus.translate import names, tls
from isthmus.translate.wire import duration, from_ads, pack, serialise, socket_address

_UNLIMITED = UInt32Value(value=2**32 - 1)
_LOOP_GUARD_ADDRESS, _LOOP_GUARD_IPV6 = "127.0.0.6", "::6"
"""Connections from here are the sidecar's own to its application: the pod's iptables rules let them pass."""
_YEAR = 31_536_000
"""Seconds."""
_PASSTHROUGH_IDLE = Duration(seconds=300)
_SILENCE = 30
"""Seconds after which a peer that acknowledges nothing is looked into, or taken for dead."""
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TYPE = cluster_pb2.Cluster.DiscoveryType
_POLICY = cluster_pb2.Cluster.LbPolicy


class Reach(Enum):
    """Whose endpoints serve a client: the whole mesh's, those of its own zone before all others, its own
    cluster's, or its own node's.
    """

    MESH = "mesh"
    ZONE = "zone"
    CLUSTER = "cluster"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """All that an outbound cluster depends on beside the mesh config.

    `accounts` are those of the pods behind it, sorted. `all_tls`: every endpoint takes mutual TLS, which
    matters where the cluster cannot tell them apart. `reach` says which endpoints it has.
    """

    name: str
    service: ServiceKey
    kind: Kind
    port: int
    protocol: Protocol
    external_name: str
    accounts: tuple[str, ...]
    all_tls: bool
    reach: Reach = Reach.MESH


def cluster_specs(
    service: Service,
    accounts: Collection[str] = (),
    all_tls: Mapping[int, bool] | None = None,
    *,
    reach: Reach = Reach.MESH,
) -> dict[str, ClusterSpec]:
    """The outbound clusters of a service, by name: one a port. UDP ports have none."""
    secured = all_tls or {}
    known = tuple(sorted(accounts))
    specs = (
        ClusterSpec(
            names.outbound_cluster(service.key, port.number),
            service.key,
            service.kind,
            port.number,
            port.protocol,
            service.external_name,
            known,
            secured.get(port.number, False),
            reach,
        )
        for port in service.ports
        if port.protocol is not Protocol.UDP
        and (service.kind is not Kind.EXTERNAL_NAME or service.external_name)
    )
    return {spec.name: spec for spec in specs}


def encoded_cluster(spec: ClusterSpec, mesh: MeshConfig, *, secured: bool, templates: Templates) -> bytes:
    """`outbound_cluster`, serialised. `templates` are of this mesh config and `secured`."""
    if spec.kind is Kind.EXTERNAL_NAME or _always_by_tls(spec, mesh):
        return serialise(outbound_cluster(spec, mesh, secured=secured))

    def specimen(strings: Sequence[str]) -> cluster_pb2.Cluster:
        namespace, name, *accounts = strings
        service = ServiceKey(namespace, name)
        cluster = names.outbound_cluster(service, spec.port)
        other = replace(spec, name=cluster, service=service, accounts=tuple(accounts))
        return outbound_cluster(other, mesh, secured=secured)

    kind = spec.kind, spec.port, spec.protocol, spec.all_tls, len(spec.accounts)
    return templates.fill(kind, (*spec.service, *spec.accounts), specimen)


def outbound_cluster(spec: ClusterSpec, mesh: MeshConfig, *, secured: bool) -> cluster_pb2.Cluster:
    """The cluster of one service port.

    EDS for services with a virtual address, DNS for external names, and the connection's own destination for
    headless services, whose clients have chosen an endpoint themselves (Istio: Resolution Passthrough). The
    first choose between mutual TLS and plain text by endpoint, the last only for all at once. A proxy that
    is not `secured` has no certificate to show, so it speaks plain text to all.

    Names are joined with text and not looked into: see `encoded_cluster`.
    """
    cluster = _cluster(spec.name, mesh, _http_options(spec.protocol))
    cluster.metadata.CopyFrom(_of_service(spec.service))
    if spec.protocol.is_http:
        cluster.upstream_connection_options.CopyFrom(_kept_alive())
    if spec.protocol in (Protocol.HTTP2, Protocol.GRPC):
        cluster.upstream_bind_config.CopyFrom(_given_up())
    match spec.kind:
        case Kind.CLUSTER_IP:
            cluster.type = _TYPE.Value("EDS")
            cluster.eds_cluster_config.eds_config.CopyFrom(from_ads())
            cluster.eds_cluster_config.service_name = spec.name
            cluster.lb_policy = _POLICY.Value("LEAST_REQUEST")
            # No panic while there is any: an endpoint that drains gets nothing new, however few are left.
            cluster.common_lb_config.healthy_panic_threshold.CopyFrom(percent_pb2.Percent(value=1))
            cluster.outlier_detection.CopyFrom(_unreachable_endpoints())
            if secured and _always_by_tls(spec, mesh):
                cluster.transport_socket.CopyFrom(_tls(spec, mesh))
            elif secured and mesh.enable_auto_mtls:
                cluster.transport_socket_matches.extend(
                    tls.by_endpoint(spec.service, spec.port, spec.protocol, spec.accounts, mesh)
                )
        case Kind.HEADLESS:
            cluster.type = _TYPE.Value("ORIGINAL_DST")
            cluster.lb_policy = _POLICY.Value("CLUSTER_PROVIDED")
            if secured and spec.all_tls:
                cluster.transport_socket.CopyFrom(_tls(spec, mesh))
        case Kind.EXTERNAL_NAME:
            cluster.cluster_type.CopyFrom(_dns_cluster_type())
            cluster.lb_policy = _POLICY.Value("LEAST_REQUEST")
            cluster.load_assignment.CopyFrom(_one_endpoint(spec))
    return cluster


def _of_service(service: ServiceKey) -> base_pb2.Metadata:
    """Which service it is, as telemetry and access logs read it (Istio: addTelemetryMetadata)."""
    found = Struct()
    found["services"] = [{"host": service.hostname(), "name": service.name, "namespace": service.namespace}]
    return base_pb2.Metadata(filter_metadata={"istio": found})


def _always_by_tls(spec: ClusterSpec, mesh: MeshConfig) -> bool:
    """Whether it is the policy server's own port of mutual TLS: there is no sidecar to tell by a label."""
    return spec.port == POLICY_MTLS_PORT and (spec.service, spec.port) == mesh.policy_server


def _tls(spec: ClusterSpec, mesh: MeshConfig) -> base_pb2.TransportSocket:
    return tls.upstream(spec.service, spec.port, spec.protocol, spec.accounts, mesh)


def passthrough_cluster(mesh: MeshConfig) -> cluster_pb2.Cluster:
    """Where traffic for unknown destinations goes when it is let through: to where it was going."""
    options = _downstream_protocol(HttpProtocolOptions(idle_timeout=_PASSTHROUGH_IDLE))
    cluster = _cluster(names.PASSTHROUGH_CLUSTER, mesh, options)
    cluster.type = _TYPE.Value("ORIGINAL_DST")
    cluster.lb_policy = _POLICY.Value("CLUSTER_PROVIDED")
    return cluster


def inbound_passthrough_cluster(mesh: MeshConfig) -> cluster_pb2.Cluster:
    """Where traffic goes that reached the pod on a port that no service names."""
    cluster = passthrough_cluster(mesh)
    cluster.name = names.INBOUND_PASSTHROUGH_CLUSTER
    cluster.upstream_bind_config.CopyFrom(_own_side())
    return cluster


def black_hole_cluster(mesh: MeshConfig) -> cluster_pb2.Cluster:
    """A cluster without endpoints: connections to it are closed."""
    return cluster_pb2.Cluster(
        name=names.BLACK_HOLE_CLUSTER,
        type=_TYPE.Value("STATIC"),
        connect_timeout=duration(mesh.connect_timeout),
    )


def inbound_cluster(port: int, protocol: Protocol, mesh: MeshConfig) -> cluster_pb2.Cluster:
    """One of the pod's own ports, reached at the address that the client meant (Istio since 1.10)."""
    cluster = _cluster(names.inbound_cluster(port), mesh, _http_options(protocol))
    cluster.type = _TYPE.Value("ORIGINAL_DST")
    cluster.lb_policy = _POLICY.Value("CLUSTER_PROVIDED")
    cluster.cleanup_interval.seconds = _YEAR  # the pod's own address never becomes stale
    cluster.upstream_bind_config.CopyFrom(_own_side())
    return cluster


def _cluster(name: str, mesh: MeshConfig, options: _HttpOptions | None) -> cluster_pb2.Cluster:
    """What all clusters that take traffic share.

    Envoy's own limits (1,024 requests, 3 retries) are those of one edge proxy, and would refuse requests
    while pods are replaced; only an operator sets lower ones.
    """
    return cluster_pb2.Cluster(
        name=name,
        typed_extension_protocol_options={} if options is None else {_HTTP_OPTIONS: pack(options)},
        connect_timeout=duration(mesh.connect_timeout),
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(
            thresholds=[
                circuit_breaker_pb2.CircuitBreakers.Thresholds(
                    max_connections=_UNLIMITED,
                    max_pending_requests=_UNLIMITED,
                    max_requests=_UNLIMITED,
                    max_retries=_UNLIMITED,
                    track_remaining=True,
                )
            ]
        ),
    )


def _unreachable_endpoints() -> outlier_detection_pb2.OutlierDetection:
    """Rest endpoints that cannot be connected to; what an application answers is never held against it.

    It is on for good, not only while a cluster is stale: switching it would replace all of these clusters in
    every proxy, and drain their connections, at the very moment when something is wrong. All of them may
    rest: an endpoint that cannot be connected to serves nobody, and where none is left, all are tried again
    (panic). Two failures in a row are enough, as each may have taken seconds; one would let an application
    that hangs up be held against it, as a connection that came about ends a row.
    """
    return outlier_detection_pb2.OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=UInt32Value(value=2),
        enforcing_consecutive_5xx=UInt32Value(value=0),
        enforcing_success_rate=UInt32Value(value=0),
        enforcing_local_origin_success_rate=UInt32Value(value=0),
        interval=Duration(seconds=5),
        base_ejection_time=Duration(seconds=10),
        max_ejection_time=Duration(seconds=60),
        max_ejection_percent=UInt32Value(value=100),
    )


def _given_up() -> address_pb2.BindConfig:
    """Give up a connection on which what was sent stays unacknowledged.

    In a partition, or with a node that lost its power, Linux would repeat it for a quarter of an hour, and
    over HTTP/2 all requests to that endpoint wait behind it. Istio leaves it so (istio #33466), Linkerd has
    30 s too. A peer whose kernel answers is not given up, however slow its application; but one that for so
    long reads nothing of what is sent to it, which over HTTP/2 nobody does, and elsewhere some do on purpose.
    Besides, Linux from 6.5 on connects more patiently with it (7 s instead of 3).

    It takes the place of the bootstrap's options, so what is said there is said again.
    """
    options = (
        ("TCP_USER_TIMEOUT", 18, _SILENCE * 1000),
        ("TCP_SYNCNT", 7, 1),
    )
    return address_pb2.BindConfig(
        socket_options=[
            socket_option_pb2.SocketOption(description=text, level=6, name=name, int_value=value)
            for text, name, value in options
        ]
    )


def _kept_alive() -> cluster_pb2.UpstreamConnectionOptions:
    """Find out within a minute, while nobody waits, that a kept connection leads nowhere; for HTTP only, as
    a connection that carries anything else is its application's to end.
    """
    return cluster_pb2.UpstreamConnectionOptions(
        tcp_keepalive=address_pb2.TcpKeepalive(
            keepalive_time=UInt32Value(value=_SILENCE),
            keepalive_interval=UInt32Value(value=_SILENCE // 3),
            keepalive_probes=UInt32Value(value=3),
        )
    )


def _http_options(protocol: Protocol) -> _HttpOptions | None:
    """How HTTP is spoken to the other side; None is HTTP/1.1, and means nothing where no HTTP is read."""
    match protocol:
        case Protocol.HTTP2 | Protocol.GRPC:
            options = _HttpOptions()
            options.explicit_http_config.http2_protocol_options.CopyFrom(protocol_pb2.Http2ProtocolOptions())
            return options
        case Protocol.SNIFFED:
            return _downstream_protocol()
        case _:
            return None


def _downstream_protocol(common: HttpProtocolOptions | None = None) -> _HttpOptions:
    """HTTP in the version that the client spoke."""
    options = _HttpOptions(common_http_protocol_options=common)
    options.use_downstream_protocol_config.http_protocol_options.CopyFrom(protocol_pb2.Http1ProtocolOptions())
    options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(
        protocol_pb2.Http2ProtocolOptions()
    )
    return options


def _dns_cluster_type() -> cluster_pb2.Cluster.CustomClusterType:
    """Every address that the name resolves to (what the type STRICT_DNS was), refreshed as its TTL says."""
    return cluster_pb2.Cluster.CustomClusterType(
        name="envoy.cluster.dns",
        typed_config=pack(
            dns_cluster_pb2.DnsCluster(
                respect_dns_ttl=True,
                dns_lookup_family=dns_pb2.DnsLookupFamily.Value("V4_PREFERRED"),
                dns_failure_refresh_rate=dns_cluster_pb2.DnsCluster.RefreshRate(
                    base_interval=Duration(seconds=5), max_interval=Duration(seconds=60)
                ),
            )
        ),
    )


def _one_endpoint(spec: ClusterSpec) -> endpoint_pb2.ClusterLoadAssignment:
    endpoint = endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=socket_address(spec.external_name, spec.port))
    )
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=spec.name,
        endpoints=[endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=[endpoint])],
    )


def _own_side() -> address_pb2.BindConfig:
    """Envoy takes the one of the family in which it connects."""
    ipv6 = address_pb2.SocketAddress(address=_LOOP_GUARD_IPV6, port_value=0)
    return address_pb2.BindConfig(
        source_address=address_pb2.SocketAddress(address=_LOOP_GUARD_ADDRESS, port_value=0),
        extra_source_addresses=[address_pb2.ExtraSourceAddress(address=ipv6)],
    )
