"""Filters: what a connection or request passes through, assembled here and nowhere else.

Authentication, authorisation and policy take their places in `http_filters` and `tcp_filters`, before the
terminal filter: they are `first`.
"""

from collections.abc import Sequence

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import substitution_format_string_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.type.v3 import range_pb2
from google.protobuf.wrappers_pb2 import BoolValue

from isthmus.config.mesh import MeshConfig
from isthmus.translate import tls
from isthmus.translate.wire import NO_TIME, from_ads, pack

PLAIN_HTTP = ("http/1.1", "h2c")
"""What the HTTP inspector calls HTTP in clear text; HTTP/1.0 passes as bytes."""

_SERVER_NAME = "istio-envoy"
_LOG_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% '
    "%UPSTREAM_LOCAL_ADDRESS% "
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's default text format, which operators' log pipelines parse (Istio: Envoy access logs)."""

Filter = listener_components_pb2.Filter
_APPEND_CERTIFICATE = hcm_pb2.HttpConnectionManager.ForwardClientCertDetails.Value("APPEND_FORWARD")
_CALLER = hcm_pb2.HttpConnectionManager.SetCurrentClientCertDetails(
    subject=BoolValue(value=True), dns=True, uri=True
)


def http_filters(first: Sequence[hcm_pb2.HttpFilter] = ()) -> list[hcm_pb2.HttpFilter]:
    """The HTTP filters of every connection manager, the router last."""
    router = hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=pack(router_pb2.Router()))
    return [*first, router]


def tcp_filters(
    cluster: str, mesh: MeshConfig, *, stat_prefix: str = "", first: Sequence[Filter] = ()
) -> list[Filter]:
    """The network filters that hand a connection to a cluster as it is."""
    proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix=stat_prefix or cluster, cluster=cluster, access_log=access_logs(mesh)
    )
    return [*first, Filter(name="envoy.filters.network.tcp_proxy", typed_config=pack(proxy))]


def outbound_http_filters(route_name: str, stat_prefix: str, mesh: MeshConfig) -> list[Filter]:
    """The network filters that read HTTP and route it as the named RouteConfiguration says.

    The first says over mutual TLS that there is HTTP inside: without that name the other side could not tell
    on a port that declares no protocol.
    """
    manager = _connection_manager(stat_prefix, mesh)
    manager.rds.CopyFrom(hcm_pb2.Rds(config_source=from_ads(), route_config_name=route_name))
    return [*([_says_http()] if mesh.enable_auto_mtls else []), _manager_filter(manager)]


def inbound_http_filters(
    routes: route_pb2.RouteConfiguration,
    stat_prefix: str,
    mesh: MeshConfig,
    *,
    first: Sequence[hcm_pb2.HttpFilter] = (),
) -> list[Filter]:
    """The network filters that read HTTP and send it to the pod's own port.

    The application is told who calls in `x-forwarded-client-cert`, as Istio's sidecars do; what a caller
    without a certificate says of itself there is removed.
    """
    manager = _connection_manager(stat_prefix, mesh, first)
    manager.forward_client_cert_details = _APPEND_CERTIFICATE
    manager.set_current_client_cert_details.CopyFrom(_CALLER)
    manager.route_config.CopyFrom(routes)
    return [_manager_filter(manager)]


def access_logs(mesh: MeshConfig) -> list[accesslog_pb2.AccessLog]:
    """A line for each request or connection, where the operator named a file."""
    if not mesh.access_log_file:
        return []
    text = substitution_format_string_pb2.SubstitutionFormatString()
    text.text_format_source.inline_string = _LOG_FORMAT
    log = file_pb2.FileAccessLog(path=mesh.access_log_file, log_format=text)
    return [accesslog_pb2.AccessLog(name="envoy.access_loggers.file", typed_config=pack(log))]


def original_destination() -> listener_components_pb2.ListenerFilter:
    """Restores the destination that the pod's iptables rules replaced."""
    return listener_components_pb2.ListenerFilter(
        name="envoy.filters.listener.original_dst", typed_config=pack(original_dst_pb2.OriginalDst())
    )


def tls_inspector(
    *, only: Sequence[int] = (), but: Sequence[int] = ()
) -> listener_components_pb2.ListenerFilter:
    """Finds out whether a connection is TLS, by its first bytes; on some destination ports, or all but some.

    It waits for the client's first bytes, so it must be off wherever only plain text is accepted.
    """
    inspector = listener_components_pb2.ListenerFilter(
        name="envoy.filters.listener.tls_inspector", typed_config=pack(tls_inspector_pb2.TlsInspector())
    )
    if only:
        inspector.filter_disabled.not_match.CopyFrom(_any_port(only))
    elif but:
        inspector.filter_disabled.CopyFrom(_any_port(but))
    return inspector


def http_inspector(only_ports: Sequence[int] = ()) -> listener_components_pb2.ListenerFilter:
    """Finds out whether a connection speaks HTTP, by its first bytes; on some destination ports, or on all.

    It waits for the client's first bytes, so it must be off wherever a protocol is declared.
    """
    inspector = listener_components_pb2.ListenerFilter(
        name="envoy.filters.listener.http_inspector", typed_config=pack(http_inspector_pb2.HttpInspector())
    )
    if only_ports:
        inspector.filter_disabled.not_match.CopyFrom(_any_port(only_ports))
    return inspector


def _any_port(ports: Sequence[int]) -> listener_components_pb2.ListenerFilterChainMatchPredicate:
    predicate = listener_components_pb2.ListenerFilterChainMatchPredicate
    each = [
        predicate(destination_port_range=range_pb2.Int32Range(start=port, end=port + 1)) for port in ports
    ]
    return each[0] if len(each) == 1 else predicate(or_match=predicate.MatchSet(rules=each))


def _says_http() -> Filter:
    said = value_pb2.FilterStateValue(object_key="envoy.network.application_protocols")
    said.format_string.text_format_source.inline_string = tls.OVER_HTTP
    config = set_filter_state_pb2.Config(on_new_connection=[said])
    return Filter(name="envoy.filters.network.set_filter_state", typed_config=pack(config))


def _connection_manager(
    stat_prefix: str, mesh: MeshConfig, first: Sequence[hcm_pb2.HttpFilter] = ()
) -> hcm_pb2.HttpConnectionManager:
    return hcm_pb2.HttpConnectionManager(
        stat_prefix=stat_prefix,
        server_name=_SERVER_NAME,
        http_filters=http_filters(first),
        use_remote_address=BoolValue(value=False),
        normalize_path=BoolValue(value=True),
        proxy_100_continue=True,
        stream_idle_timeout=NO_TIME,
        upgrade_configs=[hcm_pb2.HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        access_log=access_logs(mesh),
    )


def _manager_filter(manager: hcm_pb2.HttpConnectionManager) -> Filter:
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))
