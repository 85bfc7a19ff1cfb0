"""Which statistics Envoy keeps, and under which names and tags. Pure."""

from typing import Any

from isthmus.agent.settings import AgentSettings
from isthmus.agent.static_resources import XDS_CLUSTER

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
)
"""Envoy keeps over a hundred statistics a cluster; a mesh of hundreds of services cannot afford that."""


def make_stats_config(settings: AgentSettings) -> dict[str, Any]:
    """`envoy.config.metrics.v3.StatsConfig` as JSON-ready values."""
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
