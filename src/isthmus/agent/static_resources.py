"""The clusters and listeners that Envoy has before the control plane tells it of any. Pure."""

from ipaddress import ip_address
from typing import Any

from isthmus.agent.sds import CERTIFICATE, ROOTS
from isthmus.agent.settings import AgentSettings
from isthmus.config.proxy import split_address

XDS_CLUSTER = "xds-grpc"
SDS_CLUSTER = "sds-grpc"
HEALTH_PATH = "/healthz/ready"
TYPE = "type.googleapis.com/envoy.extensions"
_HTTP = f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TLS = f"{TYPE}.transport_sockets.tls.v3.UpstreamTlsContext"
_HTTP2: dict[str, Any] = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": f"{TYPE}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def static_clusters(settings: AgentSettings) -> list[dict[str, Any]]:
    """The control plane, the agent's secrets, and what the static listeners forward to."""
    return [
        _local_cluster("prometheus_stats", settings.proxy.proxy_admin_port),
        _local_cluster("agent", settings.proxy.status_port),
        _sds_cluster(settings),
        _xds_cluster(settings),
    ]


def static_listeners(settings: AgentSettings) -> list[dict[str, Any]]:
    """Statistics for Prometheus, and readiness."""
    wildcard = "::" if settings.ipv6 else "0.0.0.0"
    return [
        _listener("prometheus", wildcard, settings.prometheus_port, "/stats/prometheus", "prometheus_stats"),
        _listener("health", wildcard, settings.health_port, HEALTH_PATH, "agent"),
    ]


def _xds_cluster(settings: AgentSettings) -> dict[str, Any]:
    host, port = split_address(settings.proxy.discovery_address, "discoveryAddress")
    limits = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    return {
        "name": XDS_CLUSTER,
        "cluster_type": {
            "name": "envoy.cluster.strict_dns",
            "typed_config": {
                "@type": f"{TYPE}.clusters.dns.v3.DnsCluster",
                "dns_refresh_rate": "2s",
                "dns_failure_refresh_rate": {"base_interval": "0.5s", "max_interval": "2s"},
                "dns_jitter": "0.2s",
                "dns_lookup_family": "V6_ONLY" if settings.ipv6 else "V4_ONLY",
            },
        },
        "connect_timeout": "2s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": _endpoints(XDS_CLUSTER, address_of(host, port)),
        "circuit_breakers": {"thresholds": [{"priority": level, **limits} for level in ("DEFAULT", "HIGH")]},
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 10, "keepalive_interval": 5}
        },
        "typed_extension_protocol_options": _HTTP2,
        **({"transport_socket": _mutual_tls(host)} if settings.proxy.secure else {}),
    }


def _mutual_tls(host: str) -> dict[str, Any]:
    """The pod's certificate towards a server that is `host` by a certificate of the mesh.

    Envoy does not dial before it has both secrets; each later connection uses the latest.
    """
    name: dict[str, Any] = {"san_type": "DNS", "matcher": {"exact": host}}
    try:
        ip_address(host)
        name["san_type"] = "IP_ADDRESS"
        shown = {}
    except ValueError:
        shown = {"sni": host}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TLS,
            **shown,
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [_secret(CERTIFICATE)],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": [name]},
                    "validation_context_sds_secret_config": _secret(ROOTS),
                },
            },
        },
    }


def _secret(name: str) -> dict[str, Any]:
    """Where Envoy finds a secret, however long it takes until there is one."""
    return {
        "name": name,
        "sds_config": {
            "api_config_source": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": SDS_CLUSTER}}],
            },
            "initial_fetch_timeout": "0s",
            "resource_api_version": "V3",
        },
    }


def _sds_cluster(settings: AgentSettings) -> dict[str, Any]:
    pipe = {"pipe": {"path": str(settings.secret_socket)}}
    return {
        "name": SDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _endpoints(SDS_CLUSTER, pipe),
        "typed_extension_protocol_options": _HTTP2,
    }


def _local_cluster(name: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": _endpoints(name, address_of("127.0.0.1", port)),
    }


def _endpoints(cluster: str, address: dict[str, Any]) -> dict[str, Any]:
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def _listener(name: str, host: str, port: int, path: str, cluster: str) -> dict[str, Any]:
    """A listener that forwards exactly one path to one local cluster."""
    routes = [{"match": {"path": path}, "route": {"cluster": cluster}}]
    return {
        "name": name,
        "stat_prefix": name,
        "address": address_of(host, port),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": _HTTP,
                            "stat_prefix": name,
                            "route_config": {
                                "name": name,
                                "virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": routes}],
                            },
                            "http_filters": [
                                {
                                    "name": "envoy.filters.http.router",
                                    "typed_config": {"@type": f"{TYPE}.filters.http.router.v3.Router"},
                                }
                            ],
                        },
                    }
                ]
            }
        ],
    }


def address_of(host: str, port: int) -> dict[str, Any]:
    """A TCP address."""
    return {"socket_address": {"address": host, "port_value": port}}
