"""A certificate authority as loaded: it signs what was checked. Pure; time is passed in, nothing is stored.

Certificates follow RFC 5280 and the X.509 SVID rules of SPIFFE: one URI SAN, critical since the subject is
empty, no CA, for servers and clients. None outlasts what signed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isthmus.ca.csr import PublicKey

SigningKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_NOBODY = x509.Name([])
_SERVER_AND_CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
_NO_CA = x509.BasicConstraints(ca=False, path_length=None)
_CA = x509.BasicConstraints(ca=True, path_length=None)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


_LEAF_USAGE = _usage(ca=False)
_CA_USAGE = _usage(ca=True)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long certificates last: where the asker names no time, and at most.

    `skew` is how far a peer's clock may be behind ours: certificates are valid from that much earlier on.
    """

    default: timedelta = timedelta(hours=24)
    most: timedelta = timedelta(days=7)
    skew: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Signer:
    """A CA's certificate and key, what lies between it and its root, and all roots that the mesh trusts.

    `chain` goes from the CA's own certificate up to, but without, its root: empty where it is a root itself.
    `roots` holds that root first. `ends` is when the first of them expires.
    """

    certificate: x509.Certificate
    key: SigningKey = field(repr=False, compare=False)
    chain: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]

    @property
    def ends(self) -> datetime:
        """When it can sign no longer."""
        return min(one.not_valid_after_utc for one in (self.certificate, *self.chain, self.roots[0]))

    @property
    def bundle(self) -> bytes:
        """Every trusted root, PEM."""
        return pem_of(self.roots)

    def issue(
        self, uri: str, public_key: PublicKey, *, life: timedelta, skew: timedelta, now: datetime
    ) -> x509.Certificate:
        """A workload's certificate for the SPIFFE ID `uri`, valid from `now - skew` to `now + life`."""
        names = [x509.UniformResourceIdentifier(uri)]
        return self._leaf(names, public_key, _SERVER_AND_CLIENT, now - skew, now + life)

    def issue_serving(
        self, names: Sequence[str], public_key: PublicKey, *, life: timedelta, skew: timedelta, now: datetime
    ) -> x509.Certificate:
        """A certificate for one of the control plane's own servers, known by DNS `names`."""
        return self._leaf([x509.DNSName(name) for name in names], public_key, _SERVER, now - skew, now + life)

    def _leaf(
        self,
        names: Sequence[x509.GeneralName],
        public_key: PublicKey,
        usage: x509.ExtendedKeyUsage,
        begins: datetime,
        ends: datetime,
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder(self.certificate.subject, _NOBODY)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(min(ends, self.ends))
            .add_extension(_LEAF_USAGE, critical=True)
            .add_extension(usage, critical=False)
            .add_extension(_NO_CA, critical=True)
            .add_extension(_issuer_key(self.certificate), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .sign(self.key, _digest(self.key))
        )


def new_root(
    key: ec.EllipticCurvePrivateKey, *, organization: str, life: timedelta, now: datetime
) -> x509.Certificate:
    """A self-signed root for `key`. Its common name is its own, so that two roots are never confused."""
    serial = x509.random_serial_number()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"root {serial:x}"[:24]),
        ]
    )
    public = key.public_key()
    return (
        x509.CertificateBuilder(name, name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(now - Lifetimes().skew)
        .not_valid_after(now + life)
        .add_extension(_CA, critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, SHA256())
    )


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates as one PEM text, in their order."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        known = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(_public_key(issuer))
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)


def _public_key(certificate: x509.Certificate) -> PublicKey:
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey), "checked as it was loaded"
    return key


def _digest(key: SigningKey) -> SHA256 | SHA384:
    return SHA384() if key.key_size == 384 else SHA256()
