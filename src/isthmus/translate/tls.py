"""Transport sockets of Istio mutual TLS: what a sidecar shows, what it asks of the other side, and ALPN.

Key and roots come by SDS from the pod's own agent (`default` and `ROOTCA`), so that nothing here changes
when certificates do. Source: Istio, "Mutual TLS"; SPIFFE ID and X.509-SVID.
"""

from collections.abc import Iterable, Sequence
from functools import cache

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue

from isthmus.config.mesh import MeshConfig, TlsVersion
from isthmus.model.identity import spiffe_id
from isthmus.model.service import Protocol, ServiceKey
from isthmus.translate import names
from isthmus.translate.wire import NO_TIME, pack

TLS, RAW_BUFFER = "tls", "raw_buffer"
"""What the TLS inspector calls the two."""
ISTIO_TCP = ("istio-peer-exchange", "istio")
ISTIO_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
"""Application protocols by which Istio's clients say that the TLS is the mesh's, and what is inside."""
OVER_HTTP = "istio-http/1.1,istio"
"""What a client says that knows its stream to be HTTP; which version, the first bytes inside tell."""
TLS_MODE = "tlsMode"
ISTIO = "istio"
_SDS_CLUSTER = "sds-grpc"
_OWN, _ROOTS = "default", "ROOTCA"
_NEWEST = common_pb2.TlsParameters.TlsProtocol.Value("TLSv1_3")
_Matcher = common_pb2.SubjectAltNameMatcher
_Match = cluster_pb2.Cluster.TransportSocketMatch


def by_endpoint(
    service: ServiceKey, port: int, protocol: Protocol, accounts: Iterable[str], mesh: MeshConfig
) -> list[cluster_pb2.Cluster.TransportSocketMatch]:
    """Mutual TLS to the endpoints that are marked so, plain text to all others (Istio: auto mutual TLS)."""
    criteria = Struct()
    criteria[TLS_MODE] = ISTIO
    socket = upstream(service, port, protocol, accounts, mesh)
    return [_Match(name="tlsMode-istio", match=criteria, transport_socket=socket), _plain()]


def upstream(
    service: ServiceKey, port: int, protocol: Protocol, accounts: Iterable[str], mesh: MeshConfig
) -> base_pb2.TransportSocket:
    """Mutual TLS to a service: its pods must show one of the service's accounts.

    While it has none, any account of its namespace will do: a pod of it cannot be anywhere else.
    """
    own = sorted(accounts)
    domains = (mesh.trust_domain, *mesh.trust_domain_aliases)
    if own:
        known = [_exactly(spiffe_id(domain, service.namespace, each)) for domain in domains for each in own]
    else:
        known = [_beginning(spiffe_id(domain, service.namespace, "")) for domain in domains]
    alpn = (ISTIO, "h2") if protocol in (Protocol.HTTP2, Protocol.GRPC) else (ISTIO,)
    context = tls_pb2.UpstreamTlsContext(
        common_tls_context=_common(known, alpn, mesh), sni=names.service_sni(service, port)
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def downstream(mesh: MeshConfig, alpn: Sequence[str]) -> base_pb2.TransportSocket:
    """Mutual TLS of a server: a client must show an identity of the mesh, whichever it is."""
    domains = (mesh.trust_domain, *mesh.trust_domain_aliases)
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=_common([_beginning(f"spiffe://{each}/") for each in domains], alpn, mesh),
        require_client_certificate=BoolValue(value=True),
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def marked_for_tls() -> base_pb2.Metadata:
    """The metadata of an endpoint that takes mutual TLS."""
    criteria = Struct()
    criteria[TLS_MODE] = ISTIO
    return base_pb2.Metadata(filter_metadata={"envoy.transport_socket_match": criteria})


def _common(known: Iterable[_Matcher], alpn: Sequence[str], mesh: MeshConfig) -> tls_pb2.CommonTlsContext:
    least = "TLSv1_3" if mesh.mesh_mtls.min_protocol_version is TlsVersion.TLSV1_3 else "TLSv1_2"
    version = common_pb2.TlsParameters.TlsProtocol.Value(least)
    return tls_pb2.CommonTlsContext(
        # Envoy's clients offer no more than TLS 1.2 unless they are told to.
        tls_params=common_pb2.TlsParameters(
            tls_minimum_protocol_version=version, tls_maximum_protocol_version=_NEWEST
        ),
        alpn_protocols=alpn,
        tls_certificate_sds_secret_configs=[_secret(_OWN)],
        combined_validation_context=tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=common_pb2.CertificateValidationContext(
                match_typed_subject_alt_names=known
            ),
            validation_context_sds_secret_config=_secret(_ROOTS),
        ),
    )


@cache
def _secret(name: str) -> secret_pb2.SdsSecretConfig:
    """Where Envoy finds a secret: at the agent beside it, however long it takes."""
    service = grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=_SDS_CLUSTER)
    )
    version = config_source_pb2.ApiVersion.Value("V3")
    source = config_source_pb2.ConfigSource(
        api_config_source=config_source_pb2.ApiConfigSource(
            api_type=config_source_pb2.ApiConfigSource.ApiType.Value("GRPC"),
            transport_api_version=version,
            set_node_on_first_message_only=True,
            grpc_services=[service],
        ),
        initial_fetch_timeout=NO_TIME,
        resource_api_version=version,
    )
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)


def _exactly(uri: str) -> _Matcher:
    return _uri(string_pb2.StringMatcher(exact=uri))


def _beginning(uri: str) -> _Matcher:
    return _uri(string_pb2.StringMatcher(prefix=uri))


def _uri(matcher: string_pb2.StringMatcher) -> _Matcher:
    return _Matcher(san_type=_Matcher.SanType.Value("URI"), matcher=matcher)


@cache
def _plain() -> cluster_pb2.Cluster.TransportSocketMatch:
    socket = base_pb2.TransportSocket(
        name="envoy.transport_sockets.raw_buffer", typed_config=pack(raw_buffer_pb2.RawBuffer())
    )
    return _Match(name="tlsMode-disabled", match=Struct(), transport_socket=socket)
