"""The control plane's figures that are no room's own, under istiod's names and labels."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.model.view import MeshView


@dataclass(frozen=True, slots=True)
class MeshFigures:
    """`triggers` counts pushes by reason, `events` what the clusters' watches brought by kind and event,
    `timeouts` the clusters that proxies were first answered without. All are live.
    """

    view: MeshView
    triggers: Mapping[str, int]
    events: Mapping[tuple[str, str], int]
    timeouts: Mapping[str, int]


class MeshMetrics(Collector):
    """Read at each scrape. `uptime` tells the seconds since the process began."""

    def __init__(self, figures: MeshFigures, *, version: str, uptime: Callable[[], float]) -> None:
        self._figures = figures
        self._version = version
        self._uptime = uptime

    def collect(self) -> Iterator[Metric]:
        """See Prometheus."""
        figures = self._figures
        info = GaugeMetricFamily("pilot_info", "This control plane's version.", labels=["version"])
        info.add_metric([self._version], 1)
        build = GaugeMetricFamily("istio_build", "A component's version.", labels=["component", "tag"])
        build.add_metric(["pilot", self._version], 1)
        yield from (info, build)
        yield GaugeMetricFamily("istiod_uptime_seconds", "Since the process began.", value=self._uptime())
        yield GaugeMetricFamily("pilot_services", "Services of the mesh.", value=len(figures.view.services()))
        # Istio's counters have no `_total`, which a counter of prometheus_client would add.
        triggers = Metric("pilot_push_triggers", "Changes that were pushed, by reason.", "unknown")
        for reason, count in figures.triggers.items():
            triggers.add_sample(triggers.name, {"type": reason}, count)
        events = Metric("pilot_k8s_reg_events", "Events of the clusters' objects.", "unknown")
        for (kind, event), count in sorted(figures.events.items()):
            events.add_sample(events.name, {"type": kind, "event": event}, count)
        timeouts = CounterMetricFamily(
            "remote_cluster_sync_timeouts",
            "Clusters that had not been read when proxies were first answered.",
            labels=["cluster"],
        )
        for cluster, count in sorted(figures.timeouts.items()):
            timeouts.add_metric([cluster], count)
        yield from (triggers, events, timeouts)
