"""Envoy's bootstrap as a pure function of the agent's settings. All else comes over ADS.

Names of clusters, listeners and metadata are Istio's, so that its tools read ours. What must not break while
the control plane moves: its address is resolved anew every few seconds, a dead connection is noticed by TCP
keep-alive, and the stream is tried again after seconds, never minutes.
"""

from typing import Any

from isthmus import __version__
from isthmus.agent.settings import AgentSettings
from isthmus.agent.static_resources import TYPE, XDS_CLUSTER, address_of, static_clusters, static_listeners
from isthmus.agent.statistics import make_statistics

_NO_CONNECTION_LIMIT = {
    "name": "envoy.resource_monitors.global_downstream_max_connections",
    "typed_config": {
        "@type": f"{TYPE}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": 2**31 - 1,
    },
}
"""A sidecar refuses no connection that its application would take; Envoy warns unless that is said."""


_UNREACHABLE_SOON = {
    "description": "TCP_SYNCNT: an address that answers neither a SYN nor its repetition is unreachable",
    "level": 6,
    "name": 7,
    "int_value": 1,
    "state": "STATE_PREBIND",
}
"""Linux repeats a SYN after 1 s and gives up 2 s later, so that a request to a cluster that is cut off is
tried elsewhere long before the mesh's `connectTimeout`, which is for handshakes too."""


def make_bootstrap(settings: AgentSettings, statsd_port: int | None = None) -> dict[str, Any]:
    """The bootstrap as JSON-ready values (`envoy.config.bootstrap.v3.Bootstrap`).

    `statsd_port` is the agent's, where statistics are to go somewhere.
    """
    return {
        "node": _node(settings),
        "admin": {"address": address_of("127.0.0.1", settings.proxy.proxy_admin_port)},
        **make_statistics(settings, statsd_port),
        "cluster_manager": {"upstream_bind_config": {"socket_options": [_UNREACHABLE_SOON]}},
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
            "clusters": static_clusters(settings),
            "listeners": static_listeners(settings),
        },
    }


def _node(settings: AgentSettings) -> dict[str, Any]:
    app = settings.labels.get("app") or settings.metadata.get("WORKLOAD_NAME") or "istio-proxy"
    return {
        "id": settings.node_id,
        "cluster": f"{app}.{settings.namespace}",
        "locality": _locality(settings),
        "metadata": {
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


def _from_ads() -> dict[str, Any]:
    """No time limit on the first answer: a pod without configuration must wait, not serve nothing."""
    return {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
