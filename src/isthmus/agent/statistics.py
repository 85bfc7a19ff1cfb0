"""Which statistics Envoy keeps, and under which names and tags. Pure."""

from collections.abc import Mapping
from typing import Any

from isthmus.agent.settings import AgentSettings
from isthmus.agent.static_resources import XDS_CLUSTER

_DATAGRAM = 1432
"""Bytes that go through any network in one packet, with a tunnel's headers."""
_CLUSTER_NAME = r"(?:outbound|inbound)\|\d+\|[^|]*\|(?:[^.]+\.[^.]+\.svc\.{domain})?"
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
    "ext_authz.denied",
    "ext_authz.error",
    "ext_authz.failure_mode_allowed",
    "ext_authz.ok",
    "ssl.connection_error",
    "ssl.fail_verify_error",
    "ssl.fail_verify_no_cert",
    "ssl.fail_verify_san",
    "ssl.handshake",
)
"""Envoy keeps over a hundred statistics a cluster; a mesh of hundreds of services cannot afford that.

No histogram is among them: to a statsd sink Envoy gives each value by itself, which is a line a request.
"""


def make_statistics(settings: AgentSettings, statsd_port: int | None) -> dict[str, Any]:
    """The fields of the bootstrap that concern statistics.

    `statsd_port` is the agent's UDP port on loopback that takes them as DogStatsD, None where nothing does.
    """
    if statsd_port is None:
        return {"stats_config": _stats_config(settings, {})}
    source = {
        "cluster": settings.cluster,
        "namespace": settings.namespace,
        "workload": settings.metadata.get("WORKLOAD_NAME") or settings.labels.get("app", ""),
    }
    sink = {
        "@type": "type.googleapis.com/envoy.config.metrics.v3.DogStatsdSink",
        "address": {"socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": statsd_port}},
        "max_bytes_per_datagram": _DATAGRAM,
    }
    return {
        "stats_config": _stats_config(settings, source),
        "stats_flush_interval": "5s",
        "stats_sinks": [{"name": "envoy.stat_sinks.dog_statsd", "typed_config": sink}],
    }


def _stats_config(settings: AgentSettings, source: Mapping[str, str]) -> dict[str, Any]:
    """`envoy.config.metrics.v3.StatsConfig`; `source` are tags that all statistics of this proxy have."""
    domain = settings.domain.replace(".", r"\.")
    names = _CLUSTER_NAME.format(domain=domain)
    wanted = settings.proxy.proxy_stats_matcher
    return {
        "use_all_default_tags": False,
        "stats_tags": [
            {"tag_name": "cluster_name", "regex": rf"^cluster\.(({names}|[^.]+)\.)"},
            {"tag_name": "http_conn_manager_prefix", "regex": r"^http\.(([^.]+)\.)"},
            {"tag_name": "response_code_class", "regex": r"_rq(_([1-5]xx))$"},
            *({"tag_name": name, "fixed_value": value} for name, value in source.items() if value),
        ],
        "stats_matcher": {
            "inclusion_list": {
                "patterns": [
                    *({"prefix": prefix} for prefix in _KEPT_PREFIXES),
                    *({"suffix": suffix} for suffix in _KEPT_SUFFIXES),
                    *({"prefix": prefix} for prefix in wanted.inclusion_prefixes),
                    *({"suffix": suffix} for suffix in wanted.inclusion_suffixes),
                    *({"safe_regex": {"regex": regex}} for regex in wanted.inclusion_regexps),
                ]
            }
        },
    }
