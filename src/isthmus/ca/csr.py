"""Certificate signing requests: read and judged before anything is signed. Pure.

Nothing of a request comes into a certificate but its public key.

Refused are: what is not exactly one PEM request of sensible size, a signature that does not hold, weak keys,
names other than the identity that the asker proved, and the wish to be a CA.
Source: RFC 2986 (PKCS #10), RFC 5280 section 4.2.1.6, Istio's CSRs (one URI SAN, empty subject).
"""

from collections.abc import Collection
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID, NameOID

from isthmus.ca.errors import UNREADABLE, CsrRefused
from isthmus.ca.wording import shown

MOST_BYTES = 16 * 1024
_LEAST_RSA_BITS = 2048
_MOST_RSA_BITS = 8192
_CURVES = ("secp256r1", "secp384r1")
_MARK = "-----BEGIN CERTIFICATE REQUEST-----"

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def check_csr(pem: str, allowed: Collection[str]) -> PublicKey:
    """The public key of a request that may be signed for the SPIFFE IDs `allowed`. Raises CsrRefused.

    A request need not name anything: the certificate gets the proved identity in any case.
    """
    csr = _read(pem)
    key = _strong_key(csr)
    try:
        signed = csr.is_signature_valid
    except UNREADABLE:
        signed = False
    if not signed:
        raise CsrRefused("its signature does not match its public key")
    _check_subject(csr)
    _check_extensions(csr, allowed)
    return key


def _read(pem: str) -> x509.CertificateSigningRequest:
    if len(pem) > MOST_BYTES:
        raise CsrRefused(f"it has {len(pem)} characters, more than {MOST_BYTES}")
    if pem.count(_MARK) > 1:
        raise CsrRefused("it holds several requests")
    try:
        return x509.load_pem_x509_csr(pem.encode())
    except UNREADABLE:
        raise CsrRefused("it is no PEM certificate request") from None


def _strong_key(csr: x509.CertificateSigningRequest) -> PublicKey:
    try:
        key = csr.public_key()
    except UNREADABLE:
        raise CsrRefused("its public key cannot be read") from None
    match key:
        case ec.EllipticCurvePublicKey():
            if key.curve.name not in _CURVES:
                raise CsrRefused(f"its key is on curve {key.curve.name}; use P-256 or P-384")
            return key
        case rsa.RSAPublicKey():
            if not _LEAST_RSA_BITS <= key.key_size <= _MOST_RSA_BITS:
                raise CsrRefused(
                    f"its RSA key has {key.key_size} bits; use {_LEAST_RSA_BITS} to {_MOST_RSA_BITS}"
                )
            if key.public_numbers().e < 65537:
                raise CsrRefused("its RSA key has an exponent below 65537")
            return key
        case _:
            raise CsrRefused("its key is neither ECDSA (P-256, P-384) nor RSA")


def _check_subject(csr: x509.CertificateSigningRequest) -> None:
    try:
        named = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except UNREADABLE:
        raise CsrRefused("its subject cannot be read") from None
    if named:
        raise CsrRefused("its subject has a common name; workloads are named by their URI SAN alone")


def _check_extensions(csr: x509.CertificateSigningRequest, allowed: Collection[str]) -> None:
    try:
        extensions = csr.extensions
    except UNREADABLE:
        raise CsrRefused("its extensions cannot be read") from None
    for extension in extensions:
        match extension.value:
            case x509.BasicConstraints(ca=True):
                raise CsrRefused("it asks for a CA certificate (CA:TRUE)")
            case x509.KeyUsage(key_cert_sign=True) | x509.KeyUsage(crl_sign=True):
                raise CsrRefused("it asks for the key usage of a CA")
            case x509.SubjectAlternativeName():
                _check_names(extension.value, allowed)
            case _ if extension.critical and extension.oid not in _KNOWN:
                raise CsrRefused(f"it asks for critical extension {extension.oid.dotted_string}")
            case _:
                pass


_KNOWN = (ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE)


def _check_names(names: x509.SubjectAlternativeName, allowed: Collection[str]) -> None:
    for name in names:
        match name:
            case x509.UniformResourceIdentifier(value=uri) if uri in allowed:
                pass
            case x509.UniformResourceIdentifier(value=uri):
                foreign = uri.startswith("spiffe://")
                raise CsrRefused(f"it asks for {shown(uri)}, which is not its identity", foreign=foreign)
            case _:
                value = shown(getattr(name, "value", ""))
                raise CsrRefused(f"it asks for the {type(name).__name__} SAN {value} beside its identity")
