"""A CA in memory, asked as the agent asks: by a CSR, without gRPC."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from isthmus.agent.certificate import Answer
from isthmus.agent.errors import NoCertificateError
from isthmus.ca.issuing import issue_certificate
from isthmus.ca.messages import CertificateRequest
from isthmus.ca.signer import Lifetimes, Signer
from isthmus.model.identity import Identity, TrustDomain
from tests.ca.making import root_signer

ECHO = Identity("cluster.local", "demo", "echo")


@dataclass
class SmallCa:
    """Issues certificates for `ECHO` that live for `seconds` by its clock; `trouble` refuses instead.

    `asked` has the time of each request.
    """

    clock: Callable[[], float]
    seconds: int = 3600
    signer: Signer = field(default_factory=root_signer)
    trouble: str = ""
    asked: list[float] = field(default_factory=list[float])

    async def ask(self, csr: str, roots: bytes) -> Answer:
        self.asked.append(self.clock())
        if self.trouble:
            raise NoCertificateError(self.trouble)
        return Answer(
            issue_certificate(
                CertificateRequest(csr, self.seconds),
                ECHO,
                self.signer,
                trust_domain=TrustDomain("cluster.local"),
                lifetimes=Lifetimes(skew=timedelta(0)),
                now=datetime.fromtimestamp(self.clock(), UTC),
            )
        )
