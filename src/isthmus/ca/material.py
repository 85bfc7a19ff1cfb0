"""Certificates and keys out of Secrets: checked as a whole before any of it is used. Pure.

The operator's `cacerts` and our own `istio-ca-secret` have the same keys, as Istio names them. A fault is
named by Secret and key; no message holds what a key holds.
Source: Istio, "Plug in CA Certificates" and `istio-ca-secret` of its self-signed CA.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from isthmus.ca.errors import UNREADABLE, MaterialRefused
from isthmus.ca.signer import Signer, SigningKey

OPERATOR_CA = "cacerts"
OWN_CA = "istio-ca-secret"
OWN_TYPE = "istio.io/ca-root"
CA_CERT = "ca-cert.pem"
CA_KEY = "ca-key.pem"
ROOT_CERT = "root-cert.pem"
CERT_CHAIN = "cert-chain.pem"
REVOKED = "ca-crl.pem"

_LEAST_RSA_BITS = 2048
_CURVES = ("secp256r1", "secp384r1")
_LONGEST_CHAIN = 8


@dataclass(frozen=True, slots=True)
class _Keys:
    """Which keys of a Secret hold what; a chain may begin with the certificate itself and end in a root."""

    certificate: str
    key: str
    roots: str
    chain: str


_ISTIO = _Keys(CA_CERT, CA_KEY, ROOT_CERT, CERT_CHAIN)
_TLS = _Keys("tls.crt", "tls.key", "ca.crt", "tls.crt")


def read_signer(secret: str, data: Mapping[str, bytes], now: datetime) -> Signer:
    """The CA that a Secret holds. `secret` is NAMESPACE/NAME, for messages. Raises MaterialRefused.

    Its keys are Istio's, or those of type kubernetes.io/tls, as cert-manager writes them. Without roots the
    CA's certificate must be the root itself, as in Secrets that Istio made.
    """
    keys = _TLS if data.get(_TLS.certificate) else _ISTIO
    certificate = _certificates(secret, keys.certificate, data)[0]
    key = _key(secret, keys.key, data)
    if key.public_key() != certificate.public_key():
        raise _refusal(secret, keys.key, f"it is not the key of the certificate in {keys.certificate}")
    _check_is_ca(secret, keys.certificate, certificate)
    between = _certificates(secret, keys.chain, data) if data.get(keys.chain, b"").strip() else ()
    roots = _certificates(secret, keys.roots, data) if data.get(keys.roots, b"").strip() else (certificate,)
    for root in roots:
        _check_is_ca(secret, keys.roots, root)
    path = _path(secret, keys, certificate, between, roots)
    for one, place in (
        (certificate, keys.certificate),
        *((each, keys.chain) for each in path[1:-1]),
        (path[-1], keys.roots),
    ):
        _check_time(secret, place, one, now)
    root = path[-1]
    return Signer(certificate, key, path[:-1], (root, *(other for other in roots if other != root)))


def _path(
    secret: str,
    keys: _Keys,
    certificate: x509.Certificate,
    between: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
) -> tuple[x509.Certificate, ...]:
    """From the CA's certificate to its root, both included; one alone where it is the root."""
    path = [certificate]
    while path[-1] not in roots:
        issuer = _issuer(path[-1], (*roots, *between))
        if issuer is None or issuer in path or len(path) > _LONGEST_CHAIN:
            subject = path[-1].subject.rfc4514_string() or "the certificate without a subject"
            where = keys.chain if len(path) > 1 or between else keys.roots
            raise _refusal(secret, where, f"nothing in it or in {keys.roots} has signed {subject}")
        _check_is_ca(secret, keys.chain, issuer)
        path.append(issuer)
    return tuple(path)


def _issuer(certificate: x509.Certificate, candidates: Sequence[x509.Certificate]) -> x509.Certificate | None:
    for candidate in candidates:
        try:
            certificate.verify_directly_issued_by(candidate)
        except UNREADABLE:
            continue
        return candidate
    return None


def _certificates(secret: str, name: str, data: Mapping[str, bytes]) -> tuple[x509.Certificate, ...]:
    try:
        found = tuple(x509.load_pem_x509_certificates(_present(secret, name, data)))
        for one in found:
            _ = one.extensions, one.subject, one.public_key()
    except UNREADABLE:
        raise _refusal(secret, name, "it holds no readable PEM certificate") from None
    return found


def _key(secret: str, name: str, data: Mapping[str, bytes]) -> SigningKey:
    text = _present(secret, name, data)
    try:
        key = load_pem_private_key(text, password=None)
    except TypeError:
        raise _refusal(secret, name, "it is encrypted; store the key without a passphrase") from None
    except UNREADABLE:
        raise _refusal(secret, name, "it holds no readable PEM private key") from None
    match key:
        case rsa.RSAPrivateKey() if key.key_size >= _LEAST_RSA_BITS:
            return key
        case ec.EllipticCurvePrivateKey() if key.curve.name in _CURVES:
            return key
        case _:
            raise _refusal(secret, name, "it must be RSA of at least 2048 bits, or ECDSA P-256 or P-384")


def _present(secret: str, name: str, data: Mapping[str, bytes]) -> bytes:
    if not (text := data.get(name, b"")).strip():
        raise _refusal(secret, name, "it is missing or empty")
    return text


def _check_is_ca(secret: str, name: str, certificate: x509.Certificate) -> None:
    constraints, usage = (
        next((each.value for each in certificate.extensions if isinstance(each.value, wanted)), None)
        for wanted in (x509.BasicConstraints, x509.KeyUsage)
    )
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        raise _refusal(secret, name, f"{_named(certificate)} is no CA certificate (it lacks CA:TRUE)")
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        raise _refusal(secret, name, f"{_named(certificate)} may not sign certificates (its key usage)")


def _check_time(secret: str, name: str, certificate: x509.Certificate, now: datetime) -> None:
    if certificate.not_valid_after_utc <= now:
        ended = certificate.not_valid_after_utc.isoformat()
        raise _refusal(secret, name, f"{_named(certificate)} expired at {ended}")
    if certificate.not_valid_before_utc > now:
        begins = certificate.not_valid_before_utc.isoformat()
        raise _refusal(secret, name, f"{_named(certificate)} is not valid before {begins}")


def _named(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"certificate {certificate.serial_number:x}"


def _refusal(secret: str, name: str, reason: str) -> MaterialRefused:
    return MaterialRefused(f"Secret {secret}, key {name}", reason)
