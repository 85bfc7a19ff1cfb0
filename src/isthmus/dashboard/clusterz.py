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
_SYNC_STATUSES = {
    State.FRESH: "synced",
    State.SYNCING: "syncing",
    State.UNREACHABLE: "timeout",
    State.STALE: "stale",
    State.UNAUTHORISED: "unauthorised",
    State.REFUSED: "refused",
}
"""Values of the label `status`: istiod's three, and where it would say "synced" for ever, ours."""


def describe_clusters(clusters: Iterable[ClusterStatus]) -> list[dict[str, Any]]:
    """One row for each cluster and each refused key of a Secret, by name.

    istiod's `id`, `secretName` and `syncStatus`; ours: `state`, `since` (all times are RFC 3339), `reason`,
    `advice` (what to do), `served`, `standing` (what its endpoints are worth), `drain` (how far it is
    drained, in words), counts of objects, `lastChange`, `credentialExpires`, `certificatesEnd` (from when on
    workloads' certificates do, while they cannot be renewed), `apiVersion`, `probeMilliseconds`, `lastError`
    (also once it is over), `remarks`, and `rejected` objects with their reasons. What is not known is null.
    """
    return [_row(cluster) for cluster in clusters]


def _row(cluster: ClusterStatus) -> dict[str, Any]:
    return {
        "id": cluster.name,
        "secretName": cluster.secret,
        "syncStatus": _ISTIO_WORDS.get(cluster.state, cluster.state.value),
        "state": cluster.state.value,
        "since": _time(cluster.since),
        "reason": cluster.reason,
        "advice": cluster.advice,
        "served": cluster.served,
        "standing": cluster.standing.value,
        "drain": cluster.drain or None,
        "server": cluster.server,
        "objects": {
            "services": cluster.services,
            "endpointSlices": cluster.endpoint_slices,
            "pods": cluster.pods,
            "nodes": cluster.nodes,
        },
        "lastChange": _time(cluster.changed_at),
        "credentialExpires": _time(cluster.expires),
        "certificatesEnd": _time(
            None if cluster.certificates_end is None else cluster.certificates_end.begin
        ),
        "apiVersion": cluster.version or None,
        "probeMilliseconds": None if cluster.latency is None else round(cluster.latency * 1000, 1),
        "lastError": cluster.last_error or None,
        "remarks": list(cluster.remarks),
        "rejected": [{"object": str(one.ref), "reason": one.reason} for one in cluster.rejected],
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class ClusterMetrics(Collector):
    """Register it once. Everything is computed at the scrape."""

    def __init__(self, status: Callable[[], Sequence[ClusterStatus]]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """istiod's `istiod_managed_clusters` and `istiod_remote_cluster_sync_status`, and ours."""
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
        sync = GaugeMetricFamily(
            "istiod_remote_cluster_sync_status",
            "Current synchronization state of remote clusters: 1 for the state that the cluster is in.",
            labels=["cluster", "cluster_type", "status"],
        )
        expires = GaugeMetricFamily(
            "isthmus_cluster_credential_expires_seconds",
            "When the credential ends, in Unix seconds.",
            labels=["cluster"],
        )
        ends = GaugeMetricFamily(
            "isthmus_cluster_certificates_end_seconds",
            "When workloads' certificates begin to end, in Unix seconds; there while nobody can renew them.",
            labels=["cluster"],
        )
        latency = GaugeMetricFamily(
            "isthmus_cluster_probe_seconds",
            "How long the API server took to answer the latest probe.",
            labels=["cluster"],
        )
        seen: set[str] = set()
        for one in clusters:
            if one.name in seen:  # a refused key of the same name: the one in force counts
                continue
            seen.add(one.name)
            for possible in State:
                state.add_metric([one.name, possible.value], float(possible is one.state))
            since.add_metric([one.name], one.since)
            if one.secret:
                for possible, word in _SYNC_STATUSES.items():
                    sync.add_metric([one.name, "remote", word], float(possible is one.state))
            if one.expires is not None:
                expires.add_metric([one.name], one.expires)
            if one.certificates_end is not None:
                ends.add_metric([one.name], one.certificates_end.begin)
            if one.latency is not None:
                latency.add_metric([one.name], one.latency)
        yield from (state, since, sync, expires, ends, latency)
