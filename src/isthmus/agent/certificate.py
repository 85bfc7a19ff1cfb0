"""A workload's key and certificate, and the roots of its mesh. Pure but for the making of keys.

A key lives in the memory of this process and of Envoy, and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What Envoy needs, PEM: the key (PKCS #8), and the chain, the workload's own certificate first, no root.

    `expires` is in Unix seconds.
    """

    key: bytes = field(repr=False)
    chain: bytes
    expires: float


class Answer(NamedTuple):
    """A CA's certificates (PEM), the workload's first, and the cluster that vouched for it, if it says so."""

    certificates: Sequence[str]
    cluster: str = ""


def new_key() -> ec.EllipticCurvePrivateKey:
    """ECDSA P-256, as Istio's agent makes it."""
    return ec.generate_private_key(ec.SECP256R1())


def make_csr(key: ec.EllipticCurvePrivateKey) -> str:
    """A request (PEM) that names nothing: the certificate gets the identity that the asker proves."""
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def read_certificate(key: ec.EllipticCurvePrivateKey, certificates: Sequence[str]) -> Certificate:
    """A CA's answer (PEM, the workload's certificate first), for the key that was asked for.

    ValueError says what is wrong with it.
    """
    try:
        read = [x509.load_pem_x509_certificate(pem.encode()) for pem in certificates]
        if not read:
            raise ValueError("it holds no certificate")
        if read[0].public_key() != key.public_key():
            raise ValueError("its certificate is for another key")
        chain = [one for one in read if one is read[0] or one.issuer != one.subject]
        return Certificate(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            b"".join(one.public_bytes(Encoding.PEM) for one in chain),
            read[0].not_valid_after_utc.timestamp(),
        )
    except _UNREADABLE as error:
        raise ValueError(f"the CA's answer is of no use: {error}") from None


def check_roots(bundle: bytes) -> bytes:
    """The bundle itself if it is one or more PEM certificates, else ValueError."""
    try:
        x509.load_pem_x509_certificates(bundle)
    except _UNREADABLE:
        raise ValueError("it holds no PEM certificates") from None
    return bundle


def is_under(chain: bytes, bundle: bytes) -> bool:
    """Whether the chain's last certificate was issued by a root of the bundle, both PEM."""
    last = x509.load_pem_x509_certificates(chain)[-1]
    return any(_issued(last, root) for root in x509.load_pem_x509_certificates(bundle))


def _issued(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (*_UNREADABLE, InvalidSignature):
        return False
    return True
