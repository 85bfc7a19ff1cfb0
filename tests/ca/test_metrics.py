from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from isthmus.ca.authentication import Authenticator
from isthmus.ca.metrics import CaMetrics
from isthmus.ca.service import CertificateService
from isthmus.ca.signer import Lifetimes, Signer
from isthmus.ca.tenure import Tenures, Why
from isthmus.model.service import ClusterId
from tests.ca.making import MESH, root_signer
from tests.ca.test_admission import View


@dataclass
class Source:
    signer: Signer | None


def test_figures_have_istios_names() -> None:
    source = Source(root_signer())
    service = CertificateService(source, MESH, Lifetimes())
    callers = Authenticator(MESH, {}, home=ClusterId("west"))
    tenures = Tenures(View(), (), float)
    tenures.ended[Why.POD_GONE] = 2
    service.tally.issued, service.tally.refused, callers.refused = 3, 1, 2
    service.tally.malformed = 1
    registry = CollectorRegistry()
    ends = root_signer().roots[0].not_valid_after_utc.timestamp()
    registry.register(CaMetrics(service, callers, source, tenures, clock=lambda: ends - 60))

    def read(name: str) -> float | None:
        return registry.get_sample_value(name)

    assert read("citadel_server_csr_count") == 4
    assert read("citadel_server_success_cert_issuance_count") == 3
    assert read("citadel_server_authentication_failure_count") == 2
    assert read("citadel_server_csr_parsing_err_count") == 1
    for which in ("root_cert", "cert_chain"):
        assert read(f"citadel_server_{which}_expiry_timestamp") == ends
        assert read(f"citadel_server_{which}_expiry_seconds") == 60
    assert read("isthmus_ca_trusted_roots") == 1
    gone = {"reason": "pod_gone"}
    assert registry.get_sample_value("isthmus_proofs_ended_total", gone) == 2
    source.signer = None
    assert read("citadel_server_root_cert_expiry_timestamp") is None
