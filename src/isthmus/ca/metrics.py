"""The CA's figures for Prometheus, under Istio's names where Istio has one."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.ca.service import SignerSource, Tally


class CaMetrics(Collector):
    """Reads the tally and the CA at each scrape."""

    def __init__(self, tally: Tally, source: SignerSource) -> None:
        self._tally = tally
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """See Prometheus."""
        tally = self._tally
        asked = tally.issued + tally.unauthenticated + tally.refused + tally.unavailable
        for name, text, value in (
            ("citadel_server_csr_count", "Requests for certificates.", asked),
            ("citadel_server_success_cert_issuance_count", "Certificates issued.", tally.issued),
            (
                "citadel_server_authentication_failure_count",
                "Requests without proof of who asks.",
                tally.unauthenticated,
            ),
            ("isthmus_ca_refused_count", "Requests that were refused to proved callers.", tally.refused),
            ("isthmus_ca_unavailable_count", "Requests that were put off.", tally.unavailable),
        ):
            # Istio's counters have no `_total`, which a counter of prometheus_client would add.
            family = Metric(name, text, "unknown")
            family.add_sample(name, {}, value)
            yield family
        signer = self._source.signer
        if signer is not None:
            yield GaugeMetricFamily(
                "citadel_server_root_cert_expiry_timestamp",
                "When the signing root ends, Unix seconds.",
                value=signer.roots[0].not_valid_after_utc.timestamp(),
            )
            yield GaugeMetricFamily("isthmus_ca_trusted_roots", "Trusted roots.", value=len(signer.roots))
