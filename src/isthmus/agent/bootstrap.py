"""Envoy's bootstrap as a pure function of the agent's settings. All else comes over ADS.

Names of clusters, listeners and metadata are Istio's, so that its tools read ours. What must not break while
the control plane moves: its address is resolved anew every few seconds, a dead connection is noticed by TCP
keep-alive, and the stream is tried again after seconds, never minutes.
"""

from typing import Any

from isthmus import __version__
from isthmus.agent.settings import AgentSettings
from isthmus.config.proxy import split_address

XDS_CLUSTER = "xds-grpc"
HEALTH_PATH = "/healthz/ready"
_TYPE = "type.googleapis.com/envoy.extensions"
_HTTP = f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_CLUSTER_NAME = r"(?:outbound|inbound)\|\d+\|[^|]*\|(?:[^.]+\.[^.]+\.svc\.{domain})?"

_NO_CONNECTION_LIMIT = {
    "name": "envoy.resource_monitors.global_downstream_max_connections",
    "typed_config": {
        "@type": f"{_TYPE}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": 2**31 - 1,
    },
}
"""A sidecar refuses no connection that its application would take; Envoy warns unless that is said."""
_KEPT_PREFIXES = ("cluster_manager.", "listener_manager.", "server.", f"cluster.{XDS_CLUSTER}.")
_KEPT_SUFFIXES = (
    "upstream_cx_active",
    "upstream_cx_connect_fail",
    "upstream_cx_total",
    "upstream_rq_completed",
    "upstream_rq_retry",
    "upstream_rq_total",
    "upstream_rq_xx",
    "upstream_rq_2xx",
    "upstream_rq_4xx",
    "upstream_rq_5xx",
    "downstream_cx_active",
    "downstream_cx_total",
    "downstream_rq_total",
    "downstream_rq_2xx",
    "downstream_rq_4xx",
    "downstream_rq_5xx",
    "membership_healthy",
    "membership_total",
)
"""Envoy keeps over a hundred statistics a cluster; a mesh of hundreds of services cannot afford that."""


def make_bootstrap(settings: AgentSettings) -> dict[str, Any]:
    """The bootstrap as JSON-ready values (`envoy.config.bootstrap.v3.Bootstrap`)."""
    wildcard = "::" if settings.ipv6 else "0.0.0.0"
    return {
        "node": _node(settings),
        "admin": {"address": _address("127.0.0.1", settings.proxy.proxy_admin_port)},
        "stats_config": _stats(settings),
        "overload_manager": {"resource_monitors": [_NO_CONNECTION_LIMIT]},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if settings.delta else "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": XDS_CLUSTER,
                            "retry_policy": {
                                "retry_back_off": {"base_interval": "0.2s", "max_interval": "5s"}
                            },
                        }
                    }
                ],
            },
            "cds_config": _from_ads(),
            "lds_config": _from_ads(),
        },
        "static_resources": {
            "clusters": [
                _local_cluster("prometheus_stats", settings.proxy.proxy_admin_port),
                _local_cluster("agent", settings.proxy.status_port),
                _xds_cluster(settings),
            ],
            "listeners": [
                _listener(
                    "prometheus", wildcard, settings.prometheus_port, "/stats/prometheus", "prometheus_stats"
                ),
                _listener("health", wildcard, settings.health_port, HEALTH_PATH, "agent"),
            ],
        },
    }


def _node(settings: AgentSettings) -> dict[str, Any]:
    app = settings.labels.get("app") or settings.metadata.get("WORKLOAD_NAME") or "istio-proxy"
    return {
        "id": settings.node_id,
        "cluster": f"{app}.{settings.namespace}",
        "locality": _locality(settings),
        "metadata": {
            "CLUSTER_ID": "Kubernetes",
            **settings.metadata,
            "NAME": settings.pod,
            "NAMESPACE": settings.namespace,
            "SERVICE_ACCOUNT": settings.service_account,
            "INSTANCE_IPS": settings.address,
            "ISTIO_VERSION": "1.30.0",
            "ISTHMUS_VERSION": __version__,
            "LABELS": dict(settings.labels),
        },
    }


def _locality(settings: AgentSettings) -> dict[str, str]:
    """From the pod's labels: `istio-locality` (`region.zone.subzone`), else Kubernetes' topology labels."""
    named = settings.labels.get("istio-locality", "").split(".")
    topology = [settings.labels.get(f"topology.kubernetes.io/{part}", "") for part in ("region", "zone")]
    parts = named if named[0] else topology
    return {key: value for key, value in zip(("region", "zone", "sub_zone"), parts, strict=False) if value}


def _stats(settings: AgentSettings) -> dict[str, Any]:
    domain = settings.domain.replace(".", r"\.")
    names = _CLUSTER_NAME.format(domain=domain)
    return {
        "use_all_default_tags": False,
        "stats_tags": [
            {"tag_name": "cluster_name", "regex": rf"^cluster\.(({names}|[^.]+)\.)"},
            {"tag_name": "http_conn_manager_prefix", "regex": r"^http\.(([^.]+)\.)"},
            {"tag_name": "response_code_class", "regex": r"_rq(_([1-5]xx))$"},
        ],
        "stats_matcher": {
            "inclusion_list": {
                "patterns": [
                    *({"prefix": prefix} for prefix in _KEPT_PREFIXES),
                    *({"suffix": suffix} for suffix in _KEPT_SUFFIXES),
                ]
            }
        },
    }


def _from_ads() -> dict[str, Any]:
    """No time limit on the first answer: a pod without configuration must wait, not serve nothing."""
    return {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}


def _xds_cluster(settings: AgentSettings) -> dict[str, Any]:
    host, port = split_address(settings.proxy.discovery_address, "discoveryAddress")
    limits = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    return {
        "name": XDS_CLUSTER,
        "cluster_type": {
            "name": "envoy.cluster.strict_dns",
            "typed_config": {
                "@type": f"{_TYPE}.clusters.dns.v3.DnsCluster",
                "dns_refresh_rate": "2s",
                "dns_failure_refresh_rate": {"base_interval": "0.5s", "max_interval": "2s"},
                "dns_jitter": "0.2s",
                "dns_lookup_family": "V6_ONLY" if settings.ipv6 else "V4_ONLY",
            },
        },
        "connect_timeout": "2s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": _endpoints(XDS_CLUSTER, host, port),
        "circuit_breakers": {"thresholds": [{"priority": level, **limits} for level in ("DEFAULT", "HIGH")]},
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 10, "keepalive_interval": 5}
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }


def _local_cluster(name: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": _endpoints(name, "127.0.0.1", port),
    }


def _endpoints(cluster: str, host: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(host, port)}}
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _listener(name: str, host: str, port: int, path: str, cluster: str) -> dict[str, Any]:
    """A listener that forwards exactly one path to one local cluster."""
    routes = [{"match": {"path": path}, "route": {"cluster": cluster}}]
    return {
        "name": name,
        "stat_prefix": name,
        "address": _address(host, port),
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
                                    "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"},
                                }
                            ],
                        },
                    }
                ]
            }
        ],
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
