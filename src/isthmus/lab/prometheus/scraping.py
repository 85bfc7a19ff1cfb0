"""What Prometheus is to scrape, out of the clusters' pods. Pure.

Debian's Prometheus is built without discovery in Kubernetes: it reads its targets from a file.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_BRIDGE_LABEL = ("istio", "statsd-prom-bridge")
_BRIDGE_PORT, _PROXY_PORT = "statsd-prom", "http-envoy-prom"
_PROXY_PATH = "/stats/prometheus"
_INTERVAL = "2s"


def configuration(targets: Path) -> dict[str, Any]:
    """Prometheus' own configuration; `targets` is the file of `target_groups`, as JSON."""
    return {
        "global": {"scrape_interval": _INTERVAL, "scrape_timeout": _INTERVAL},
        "scrape_configs": [
            {
                "job_name": "mesh",
                # What the bridge shows is about others, and says about whom.
                "honor_labels": True,
                "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "5m"}],
            }
        ],
    }


def target_groups(pods: Iterable[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Targets of (cluster, Pod) in Prometheus' form, sorted, labelled by cluster, namespace and pod.

    The bridge is not labelled by its pod, as what it shows is about others.
    """
    found = [group for cluster, pod in pods for group in _of_pod(cluster, pod)]
    return sorted(found, key=lambda group: (group["labels"]["cluster"], group["targets"]))


def _of_pod(cluster: str, pod: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    metadata, address = pod["metadata"], pod.get("status", {}).get("podIP")
    if not address or metadata.get("deletionTimestamp"):
        return
    labels = {"cluster": cluster, "namespace": metadata["namespace"], "pod": metadata["name"]}
    host = f"[{address}]" if ":" in address else address
    name, value = _BRIDGE_LABEL
    for port in _ports(pod["spec"]):
        if port.get("name") == _PROXY_PORT:
            extra = {"job": "envoy", "__metrics_path__": _PROXY_PATH}
        elif port.get("name") == _BRIDGE_PORT and metadata.get("labels", {}).get(name) == value:
            extra = {"job": "statsd-prom-bridge", "pod": ""}
        else:
            continue
        yield {"targets": [f"{host}:{port['containerPort']}"], "labels": {**labels, **extra}}


def _ports(spec: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        yield from container.get("ports", ())
