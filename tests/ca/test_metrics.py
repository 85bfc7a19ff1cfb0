from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from isthmus.ca.metrics import CaMetrics
from isthmus.ca.service import Tally
from isthmus.ca.signer import Signer
from tests.ca.making import root_signer


@dataclass
class Source:
    signer: Signer | None


def test_figures_have_istios_names() -> None:
    source, tally = Source(root_signer()), Tally(issued=3, unauthenticated=2, refused=1)
    registry = CollectorRegistry()
    registry.register(CaMetrics(tally, source))

    def read(name: str) -> float | None:
        return registry.get_sample_value(name)

    assert read("citadel_server_csr_count") == 6
    assert read("citadel_server_success_cert_issuance_count") == 3
    assert read("citadel_server_authentication_failure_count") == 2
    assert read("isthmus_ca_trusted_roots") == 1
    source.signer = None
    assert read("citadel_server_root_cert_expiry_timestamp") is None
