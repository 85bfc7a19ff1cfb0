"""`/debug/clusterz` and the clusters' metrics: where each cluster stands."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.clusters.health import State
from isthmus.clusters.status import ClusterStatus

_ISTIO_WORDS = {State.FRESH: "synced"}
"""`syncStatus` says Istio's word only where it is true; everything else is said as it is."""


def describe_clusters(clusters: Iterable[ClusterStatus]) -> list[dict[str, Any]]:
    """One row for each cluster and each refused key of a Secret, by name.

    istiod's `id`, `secretName` and `syncStatus`; ours: `state`, `since` (RFC 3339), `reason`, `served`,
    counts of objects, `remarks`, and `rejected` objects with their reasons.
    """
    return [_row(cluster) for cluster in clusters]


def _row(cluster: ClusterStatus) -> dict[str, Any]:
    return {
        "id": cluster.name,
        "secretName": cluster.secret,
        "syncStatus": _ISTIO_WORDS.get(cluster.state, cluster.state.value),
        "state": cluster.state.value,
        "since": datetime.fromtimestamp(cluster.since, UTC).isoformat(timespec="milliseconds"),
        "reason": cluster.reason,
        "served": cluster.served,
        "server": cluster.server,
        "objects": {
            "services": cluster.services,
            "endpointSlices": cluster.endpoint_slices,
            "pods": cluster.pods,
            "nodes": cluster.nodes,
        },
        "remarks": list(cluster.remarks),
        "rejected": [{"object": str(one.ref), "reason": one.reason} for one in cluster.rejected],
    }


class ClusterMetrics(Collector):
    """Register it once. Everything is computed at the scrape."""

    def __init__(self, status: Callable[[], Sequence[ClusterStatus]]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """`istiod_managed_clusters` as istiod has it, and one `isthmus_cluster_state` a cluster and state."""
        clusters = self._status()
        managed = GaugeMetricFamily(
            "istiod_managed_clusters", "Clusters managed by this control plane.", labels=["cluster_type"]
        )
        managed.add_metric(["local"], sum(not one.secret for one in clusters))
        managed.add_metric(["remote"], sum(one.served and bool(one.secret) for one in clusters))
        yield managed
        state = GaugeMetricFamily(
            "isthmus_cluster_state", "1 for the state that the cluster is in.", labels=["cluster", "state"]
        )
        since = GaugeMetricFamily(
            "isthmus_cluster_state_since_seconds", "Since when, in Unix seconds.", labels=["cluster"]
        )
        seen: set[str] = set()
        for one in clusters:
            if one.name in seen:  # a refused key of the same name: the one in force counts
                continue
            seen.add(one.name)
            for possible in State:
                state.add_metric([one.name, possible.value], float(possible is one.state))
            since.add_metric([one.name], one.since)
        yield state
        yield since
