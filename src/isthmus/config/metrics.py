"""What Prometheus is told of the configuration objects."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from isthmus.config.store import ConfigStore


class ConfigMetrics(Collector):
    """`isthmus_config_objects` by kind: in force, and rejected in their latest version; and istiod's
    `pilot_k8s_cfg_events`.
    """

    def __init__(self, *stores: ConfigStore[Any]) -> None:
        self._stores = stores

    def collect(self) -> Iterator[Metric]:
        """Read at each scrape."""
        objects = GaugeMetricFamily(
            "isthmus_config_objects",
            "Configuration objects by what became of them.",
            labels=("kind", "state"),
        )
        events = Metric("pilot_k8s_cfg_events", "Events of configuration objects.", "unknown")
        for store in self._stores:
            kind = store.kind.source.kind
            for event, count in store.events.items():
                events.add_sample(events.name, {"type": kind, "event": event}, count)
            objects.add_metric((kind, "in_force"), len(store.all()))
            objects.add_metric((kind, "rejected"), len(store.rejected))
        yield objects
        yield events
