"""The hub's counters as Prometheus reads them. Names are Istio's (pilot's metrics) where Istio has one."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.xds.counters import short_type
from isthmus.xds.hub import Hub


class HubMetrics(Collector):
    """Register it once: `REGISTRY.register(HubMetrics(hub))`. Everything is computed at the scrape."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterable[Metric]:
        """All families."""
        counters = self._hub.counters
        connected = GaugeMetricFamily("pilot_xds", "Proxies connected by xDS.", labels=["form"])
        for form, streams in self._hub.connected().items():
            connected.add_metric([form.value], streams)
        yield connected
        by_type = (
            ("pilot_xds_pushes", "Responses sent, by type.", counters.sends),
            ("pilot_xds_sent_bytes", "Bytes of responses sent, by type.", counters.sent_bytes),
            ("pilot_xds_rejects", "Responses that proxies rejected, by type.", counters.rejects),
        )
        for name, text, values in by_type:
            family = CounterMetricFamily(name, text, labels=["type"])
            for type_url, value in values.items():
                family.add_metric([short_type(type_url)], value)
            yield family
        totals = (
            ("pilot_total_xds_rejects", "Responses that proxies rejected.", counters.rejects.total()),
            ("pilot_xds_changes", "Changes that concerned a connected proxy.", counters.pushes),
            (
                "pilot_xds_responses_built",
                "Distinct responses built; streams share them.",
                self._hub.responses_built,
            ),
            ("pilot_xds_expired_nonce", "Requests with a stale nonce.", counters.stale),
            (
                "pilot_xds_violations",
                "Streams ended because the proxy broke the protocol.",
                counters.violations,
            ),
            ("pilot_xds_stalled", "Streams ended because the proxy did not read.", counters.stalled),
        )
        for name, text, value in totals:
            yield CounterMetricFamily(name, text, value=value)
