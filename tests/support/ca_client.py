"""Asks a CA for a certificate by grpcio, as a client that is not ours would."""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from grpc import aio

from isthmus.ca.messages import METHOD, CertificateRequest, decode_response, encode_request
from isthmus.ca.signer import pem_of
from isthmus.model.service import ClusterId


@dataclass(frozen=True, slots=True)
class Issued:
    """An answer, PEM: `chain` is the workload's certificate and what is between it and a root; `roots` are
    all that the CA trusts, the one that signed first.
    """

    chain: tuple[str, ...]
    roots: tuple[str, ...]

    @property
    def expires(self) -> float:
        """When the workload's certificate does, Unix seconds."""
        return x509.load_pem_x509_certificate(self.chain[0].encode()).not_valid_after_utc.timestamp()


async def request_certificate(
    channel: aio.Channel, csr: str, *, seconds: int, token: str, cluster: ClusterId, timeout: float
) -> Issued:
    """A certificate for `csr` (PEM), valid for `seconds` (0: as the CA likes), within `timeout` seconds.

    `token` proves who asks, to be reviewed in `cluster`; "" where the channel's client certificate does.
    Raises aio.AioRpcError as gRPC does, and ValueError for an answer without a certificate.
    """
    metadata: list[tuple[str, str]] = [("clusterid", cluster)] if cluster else []
    if token:
        metadata.append(("authorization", f"Bearer {token}"))
    ask: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
    answer = await ask(
        encode_request(CertificateRequest(csr, seconds)), metadata=aio.Metadata(*metadata), timeout=timeout
    )
    return _sorted_out(decode_response(answer))


def make_csr(key: ec.EllipticCurvePrivateKey, uri: str) -> str:
    """A request as Istio's agent makes it: no subject, the SPIFFE ID as its one SAN, critical."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(names, critical=True)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def _sorted_out(certificates: Sequence[str]) -> Issued:
    *chain, roots = certificates or [""]
    if not chain:
        raise ValueError("the answer holds no certificate chain up to a root")
    return Issued(
        tuple(chain),
        tuple(pem_of([one]).decode() for one in x509.load_pem_x509_certificates(roots.encode())),
    )
