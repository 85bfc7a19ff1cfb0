"""`IstioCertificateService/CreateCertificate` without a transport: a proved caller's message in, answer out.

Status codes are istiod's: UNAVAILABLE where there is no CA now (try again), INVALID_ARGUMENT for a bad
request, PERMISSION_DENIED for another's identity, RESOURCE_EXHAUSTED for too many requests. A refusal is one
log line.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import structlog
from grpc import StatusCode

from isthmus.ca.errors import CertificateFailed, CsrRefused
from isthmus.ca.issuing import issue_certificate
from isthmus.ca.messages import MalformedRequest, decode_request, encode_response
from isthmus.ca.rates import Rate, host_of
from isthmus.ca.signer import Lifetimes, Signer
from isthmus.model.identity import Identity, TrustDomain

_log = structlog.stdlib.get_logger(__name__)


class SignerSource(Protocol):
    """Where the CA in force comes from; `authority.CertificateAuthority` is one."""

    @property
    def signer(self) -> Signer | None:
        """What signs now, None while nothing does."""
        ...


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """What the service allows each caller: a pod, or an address where no pod was proved."""

    message_bytes: int = 64 * 1024
    burst: int = 50
    per_second: float = 5.0


@dataclass(slots=True)
class Tally:
    """What it has done since it started, for metrics."""

    issued: int = 0
    refused: int = 0
    malformed: int = 0
    """Of those that were refused: their requests or CSRs are none."""
    unavailable: int = 0


class CertificateService:
    """Answers whoever is proved by a cluster; who that is, its server has found out.

    Who is proved by a certificate alone is refused: else one that was stolen, or whose account or cluster is
    gone, would renew itself for ever.
    """

    def __init__(
        self,
        source: SignerSource,
        trust_domain: TrustDomain,
        lifetimes: Lifetimes,
        *,
        limits: ServiceLimits = ServiceLimits(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tally = Tally()
        self._source = source
        self._trust_domain = trust_domain
        self._lifetimes = lifetimes
        self._limits = limits
        self._rate = Rate(limits.burst, limits.per_second)
        self._clock = clock

    def create_certificate(self, message: bytes, identity: Identity, peer: str) -> bytes:
        """An IstioCertificateResponse for an IstioCertificateRequest. Raises (and logs) CertificateFailed."""
        try:
            answer = self._answer(message, identity, peer)
        except CertificateFailed as failure:
            self._tell(failure, identity, peer)
            raise
        self.tally.issued += 1
        return answer

    def _answer(self, message: bytes, identity: Identity, peer: str) -> bytes:
        if not identity.cluster:
            raise CertificateFailed(
                StatusCode.PERMISSION_DENIED, "a certificate alone gets no other one: show a token"
            )
        now = self._clock()
        if not self._rate.take(_caller(identity, peer), now):
            raise CertificateFailed(StatusCode.RESOURCE_EXHAUSTED, "too many certificates were asked for")
        if len(message) > self._limits.message_bytes:
            too_long = f"the request has {len(message)} bytes, more than {self._limits.message_bytes}"
            raise CertificateFailed(StatusCode.INVALID_ARGUMENT, too_long)
        signer = self._source.signer
        if signer is None:
            raise CertificateFailed(StatusCode.UNAVAILABLE, "there is no valid CA now")
        try:
            chain = issue_certificate(
                decode_request(message),
                identity,
                signer,
                trust_domain=self._trust_domain,
                lifetimes=self._lifetimes,
                now=datetime.fromtimestamp(now, UTC),
            )
        except MalformedRequest as error:
            raise CertificateFailed(StatusCode.INVALID_ARGUMENT, str(error)) from None
        except CsrRefused as refusal:
            code = StatusCode.PERMISSION_DENIED if refusal.foreign else StatusCode.INVALID_ARGUMENT
            raise CertificateFailed(code, f"CSR refused: {refusal.reason}") from None
        return encode_response(chain, identity.cluster)

    def _tell(self, failure: CertificateFailed, identity: Identity, peer: str) -> None:
        if failure.code is StatusCode.UNAVAILABLE:
            self.tally.unavailable += 1
        else:
            self.tally.refused += 1
            self.tally.malformed += failure.code is StatusCode.INVALID_ARGUMENT
        _log.warning(
            "certificate refused",
            peer=peer,
            cluster=identity.cluster,
            proved=identity.uri,
            reason=failure.reason,
        )


def _caller(identity: Identity, peer: str) -> str:
    return f"{identity.cluster} {identity.uri} {identity.pod or host_of(peer)}"
