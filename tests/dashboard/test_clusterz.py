"""What Prometheus is told of the clusters: istiod's names and labels, and the truth of each state."""

from dataclasses import replace
from datetime import datetime

import pytest
from prometheus_client import CollectorRegistry

from isthmus.clusters.health import State
from isthmus.clusters.status import ClusterStatus
from isthmus.clusters.vouching import CertificatesEnd
from isthmus.dashboard.clusterz import ClusterMetrics, describe_clusters
from isthmus.model.service import ClusterId

HOME = ClusterStatus(ClusterId("west"), State.FRESH, 100.0, served=True)
SHOWN = [state for state in State if state is not State.REMOVED]
WORDS = {"synced", "syncing", "timeout", "stale", "unauthorised", "refused"}


def east(state: State, secret: str = "istio-system/east", *, served: bool = True) -> ClusterStatus:
    return ClusterStatus(
        ClusterId("east"), state, 200.0, secret=secret, served=served, expires=900.0, latency=0.25
    )


def registry_of(*clusters: ClusterStatus) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(ClusterMetrics(lambda: clusters))
    return registry


def ones(registry: CollectorRegistry, family: str) -> list[dict[str, str]]:
    """The labels of all samples of a family that are 1, the others being 0."""
    samples = [one for metric in registry.collect() for one in metric.samples if one.name == family]
    assert {one.value for one in samples} <= {0.0, 1.0}
    return [one.labels for one in samples if one.value == 1.0]


@pytest.mark.parametrize("state", SHOWN, ids=lambda state: state.value)
def test_exactly_one_sample_of_a_cluster_says_where_it_stands(state: State) -> None:
    registry = registry_of(HOME, east(state))
    (sync,) = ones(registry, "istiod_remote_cluster_sync_status")
    assert (sync["cluster"], sync["cluster_type"]) == ("east", "remote")
    assert sync["status"] in WORDS
    assert (sync["status"] == "synced") is (state is State.FRESH)
    states = {one["cluster"]: one["state"] for one in ones(registry, "isthmus_cluster_state")}
    assert states == {"west": "fresh", "east": state.value}


def test_each_state_has_a_word_of_its_own() -> None:
    said = [ones(registry_of(east(state)), "istiod_remote_cluster_sync_status") for state in SHOWN]
    assert sorted(labels["status"] for (labels,) in said) == sorted(WORDS)


def test_managed_clusters_are_those_that_are_served_and_a_refused_key_is_no_second_cluster() -> None:
    refused = east(State.REFUSED, "istio-system/younger", served=False)
    registry = registry_of(HOME, east(State.STALE), refused)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("istiod_managed_clusters", cluster_type="local") == 1
    assert value("istiod_managed_clusters", cluster_type="remote") == 1
    assert [one["status"] for one in ones(registry, "istiod_remote_cluster_sync_status")] == ["stale"]
    assert value("isthmus_cluster_state_since_seconds", cluster="east") == 200.0
    assert value("isthmus_cluster_credential_expires_seconds", cluster="east") == 900.0
    assert value("isthmus_cluster_probe_seconds", cluster="east") == 0.25
    assert value("isthmus_cluster_probe_seconds", cluster="west") is None


@pytest.mark.parametrize(("first", "begin"), [(500.0, 500.0), (None, 700.0)])
def test_when_certificates_begin_to_end_is_there_while_they_cannot_be_renewed(
    first: float | None, begin: float
) -> None:
    name = "isthmus_cluster_certificates_end_seconds"
    ending = replace(east(State.STALE), certificates_end=CertificatesEnd(first, 700.0, 250.0))
    registry = registry_of(HOME, ending)
    assert registry.get_sample_value(name, {"cluster": "east"}) == begin
    assert registry.get_sample_value(name, {"cluster": "west"}) is None
    shown = {row["id"]: row["certificatesEnd"] for row in describe_clusters((HOME, ending))}
    assert shown["west"] is None
    assert datetime.fromisoformat(shown["east"]).timestamp() == begin
