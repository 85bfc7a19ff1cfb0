"""The CA's figures for Prometheus, under Istio's names where Istio has one."""

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.ca.authentication import Authenticator
from isthmus.ca.service import CertificateService, SignerSource
from isthmus.ca.signer import Signer
from isthmus.ca.tenure import Tenures


class CaMetrics(Collector):
    """Reads the totals and the CA at each scrape."""

    def __init__(
        self,
        service: CertificateService,
        authenticator: Authenticator,
        source: SignerSource,
        tenures: Tenures,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tally = service.tally
        self._authenticator = authenticator
        self._source = source
        self._tenures = tenures
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """See Prometheus."""
        tally, callers = self._tally, self._authenticator
        asked = tally.issued + tally.refused + tally.unavailable
        for name, text, value in (
            ("citadel_server_csr_count", "Requests of proved callers for certificates.", asked),
            ("citadel_server_success_cert_issuance_count", "Certificates issued.", tally.issued),
            ("citadel_server_csr_parsing_err_count", "CSRs that could not be used.", tally.malformed),
            (
                "citadel_server_authentication_failure_count",
                "Callers of any method that proved nothing.",
                callers.refused,
            ),
            ("isthmus_ca_refused_count", "Requests for certificates that were refused.", tally.refused),
            ("isthmus_ca_unavailable_count", "Requests for certificates put off.", tally.unavailable),
            (
                "isthmus_proof_unavailable_count",
                "Callers whom nobody could judge.",
                callers.unavailable,
            ),
        ):
            # Istio's counters have no `_total`, which a counter of prometheus_client would add.
            family = Metric(name, text, "unknown")
            family.add_sample(name, {}, value)
            yield family
        ended = Metric("isthmus_proofs_ended", "Streams ended as what their proxies proved did.", "counter")
        for why, count in self._tenures.ended.items():
            ended.add_sample("isthmus_proofs_ended_total", {"reason": why.name.lower()}, count)
        yield ended
        signer = self._source.signer
        if signer is not None:
            for name, what, end in (
                ("root_cert", "the signing root", signer.roots[0].not_valid_after_utc.timestamp()),
                ("cert_chain", "what the CA signs with, or what is between that and its root,", _end(signer)),
            ):
                yield GaugeMetricFamily(
                    f"citadel_server_{name}_expiry_timestamp", f"When {what} ends, Unix seconds.", value=end
                )
                yield GaugeMetricFamily(
                    f"citadel_server_{name}_expiry_seconds",
                    f"Seconds until {what} ends; negative after that.",
                    value=end - self._clock(),
                )
            yield GaugeMetricFamily("isthmus_ca_trusted_roots", "Trusted roots.", value=len(signer.roots))


def _end(signer: Signer) -> float:
    return min(one.not_valid_after_utc for one in (signer.certificate, *signer.chain)).timestamp()
