"""The bridge's own metrics as Prometheus reads them. Names are statsd_exporter's where it has one."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.statsd.bridge import Bridge
from isthmus.statsd.line import Kind


class BridgeMetrics(Collector):
    """Register it once. `udp_drops` gives the datagrams that the kernel dropped before they were read."""

    def __init__(self, bridge: Bridge, udp_drops: Callable[[], int]) -> None:
        self._bridge = bridge
        self._udp_drops = udp_drops

    def collect(self) -> Iterable[Metric]:
        """All families."""
        counts, families = self._bridge.counts, self._bridge.families
        totals = (
            ("lines", "Lines received.", counts.lines),
            ("samples", "Samples received, good or bad.", counts.samples()),
            ("tags", "Samples with tags.", counts.taken(tagged=True)),
            ("tag_errors", "Tags without a key or a value.", counts.tag_errors),
            ("events_unmapped", "Samples that no mapping matched.", counts.taken(mapped=False)),
            ("udp_packets", "Datagrams received.", counts.udp_packets),
            (
                "udp_packet_drops",
                "Datagrams that the kernel dropped: its buffer was full.",
                self._udp_drops(),
            ),
            ("tcp_connections", "TCP connections accepted.", counts.tcp_connections),
            ("tcp_connection_errors", "TCP connections that broke.", counts.tcp_connection_errors),
            ("tcp_too_long_lines", "Lines over TCP that were too long.", counts.tcp_too_long_lines),
        )
        for name, text, value in totals:
            yield CounterMetricFamily(f"statsd_exporter_{name}", text, value=value)
        yield _counter(
            "statsd_exporter_events",
            "Samples that reached a series, by type.",
            "type",
            {kind.value: counts.taken(kind) for kind in Kind},
        )
        yield _counter(
            "statsd_exporter_events_actions",
            "Samples that a mapping matched, by its action.",
            "action",
            {"map": counts.taken(mapped=True), "drop": counts.dropped_by_mapping.samples},
        )
        yield _counter(
            "statsd_exporter_sample_errors", "Faults in lines and samples.", "reason", counts.sample_errors
        )
        yield _counter(
            "statsd_exporter_events_error", "Samples that no series can take.", "reason", counts.event_errors
        )
        yield _pairs(
            "statsd_exporter_events_conflict",
            "Samples of a metric that is of another type.",
            "type",
            counts.conflicts.counts,
        )
        yield _pairs(
            "statsd_bridge_dropped_samples",
            "Samples dropped because they would have made a series more than the limits allow.",
            "reason",
            counts.over_limits.counts,
        )
        yield _counter(
            "statsd_exporter_config_reloads", "Mapping files read again.", "outcome", counts.reloads
        )
        yield CounterMetricFamily(
            "statsd_bridge_expired_series", "Series ended by their ttl.", value=families.expired
        )
        yield CounterMetricFamily(
            "statsd_bridge_refused_connections",
            "TCP connections refused: there were too many.",
            value=counts.tcp_connections_refused,
        )
        yield GaugeMetricFamily(
            "statsd_exporter_loaded_mappings", "Mappings in force.", value=len(self._bridge.mapper)
        )
        yield GaugeMetricFamily("statsd_bridge_series", "Series held.", value=len(families))
        metrics = GaugeMetricFamily(
            "statsd_exporter_metrics_total", "Metrics held, by type.", labels=["type"]
        )
        for type_, count in families.count_by_type().items():
            metrics.add_metric([type_.value], count)
        yield metrics


def names_in(registry: CollectorRegistry) -> frozenset[str]:
    """The names that a scrape of `registry` uses: no metric of a client may have one."""
    return frozenset(
        name
        for metric in registry.collect()
        for name in (metric.name, f"{metric.name}_total", *(sample.name for sample in metric.samples))
    )


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family


def _pairs(name: str, text: str, label: str, values: Mapping[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label, "metric_name"])
    for pair, value in values.items():
        family.add_metric(list(pair), value)
    return family
