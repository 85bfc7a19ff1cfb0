"""From a proved caller's request to its certificate chain, or the reason why not. Pure; time is passed in."""

from datetime import datetime, timedelta

from cryptography.hazmat.primitives.serialization import Encoding

from isthmus.ca.csr import check_csr
from isthmus.ca.errors import CsrRefused
from isthmus.ca.messages import CertificateRequest
from isthmus.ca.signer import Lifetimes, Signer
from isthmus.model.identity import Identity, TrustDomain

_IMPERSONATED = "ImpersonatedIdentity"


def issue_certificate(
    request: CertificateRequest,
    identity: Identity,
    signer: Signer,
    *,
    trust_domain: TrustDomain,
    lifetimes: Lifetimes,
    now: datetime,
) -> tuple[str, ...]:
    """The answer, PEM: the workload's certificate, each between it and its root, and last all roots in one.

    So Istio's clients have it, which take the last element for what they trust (istiod: CreateCertificate).

    The certificate is for `identity` and nothing else. A life of 0 or less asks for the default one; too long
    a life is refused, as istiod does. Raises CsrRefused.
    """
    if request.metadata.get(_IMPERSONATED):
        raise CsrRefused(
            f"it asks in another's name ({_IMPERSONATED}), for which nobody is trusted", foreign=True
        )
    most = lifetimes.most.total_seconds()
    if request.seconds > most:
        raise CsrRefused(f"it asks for {request.seconds} s of validity, more than {most:.0f} s")
    life = timedelta(seconds=request.seconds) if request.seconds > 0 else lifetimes.default
    key = check_csr(request.csr, trust_domain.uris(identity))
    leaf = signer.issue(identity.uri, key, life=life, skew=lifetimes.skew, now=now)
    return (
        leaf.public_bytes(Encoding.PEM).decode(),
        *(one.public_bytes(Encoding.PEM).decode() for one in signer.chain),
        signer.bundle.decode(),
    )
