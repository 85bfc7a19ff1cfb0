"""The counters of hub and listeners as Prometheus reads them. Names are Istio's (pilot's metrics) where
Istio has one.
"""

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.xds.counters import DELAYS, SIZES, Counters, short_type
from isthmus.xds.grpc_faults import Faults
from isthmus.xds.hub import Hub


class HubMetrics(Collector):
    """Register it once, `REGISTRY.register(HubMetrics(hub, faults))`; all is computed at the scrape."""

    def __init__(self, hub: Hub, faults: Faults) -> None:
        self._hub = hub
        self._faults = faults

    def collect(self) -> Iterable[Metric]:
        """All families."""
        counters = self._hub.counters
        connected = GaugeMetricFamily("pilot_xds", "Proxies connected by xDS.", labels=["form"])
        for form, streams in self._hub.connected().items():
            connected.add_metric([form.value], streams)
        yield connected
        yield _sizes(counters)
        yield _delays(counters)
        for name, text, values in (
            ("pilot_xds_pushes", "Responses sent, by type.", counters.sends),
            ("pilot_total_xds_rejects", "Responses that proxies rejected, by type.", counters.rejects),
        ):
            family = _counter(name, text)
            for type_url, value in values.items():
                family.add_sample(name, {"type": short_type(type_url)}, value)
            yield family
        ended = _counter("isthmus_grpc_faults_total", "Connections ended for what their peers did, by code.")
        for kind, value in self._faults.counts.items():
            ended.add_sample("isthmus_grpc_faults_total", {"code": kind}, value)
        yield ended
        for name, text, value in (
            ("pilot_xds_expired_nonce", "Requests with a stale nonce.", counters.stale),
            ("isthmus_xds_changes_total", "Changes that concerned a connected proxy.", counters.pushes),
            (
                "isthmus_xds_responses_built_total",
                "Distinct responses; streams share them.",
                self._hub.responses_built,
            ),
            ("isthmus_xds_violations_total", "Streams ended for breaking the protocol.", counters.violations),
            ("isthmus_xds_stalled_total", "Streams ended because nobody read them.", counters.stalled),
        ):
            family = _counter(name, text)
            family.add_sample(name, {}, value)
            yield family


def _sizes(counters: Counters) -> Metric:
    """Of responses, as a histogram for each type."""
    family = HistogramMetricFamily(
        "pilot_xds_config_size_bytes", "Sizes of responses sent, by type.", labels=["type"]
    )
    for type_url, total in counters.sent_bytes.items():
        bounds = [*(str(float(bound)) for bound in SIZES), "+Inf"]
        buckets = list(zip(bounds, accumulate(counters.sizes[type_url]), strict=True))
        family.add_metric([short_type(type_url)], buckets, total)
    return family


def _delays(counters: Counters) -> Metric:
    """Of responses with a change in them; istiod counts a push of all types once, this each response."""
    bounds = [*(str(bound) for bound in DELAYS), "+Inf"]
    return HistogramMetricFamily(
        "pilot_proxy_convergence_time",
        "Seconds from a change to its being sent to a proxy.",
        buckets=list(zip(bounds, accumulate(counters.delays), strict=True)),
        sum_value=counters.delayed,
    )


def _counter(name: str, text: str) -> Metric:
    """A counter under exactly this name: Istio's have no `_total`, which prometheus_client would add."""
    plain = name.removesuffix("_total")
    return Metric(plain, text, "unknown" if plain == name else "counter")
