"""Certificates, requests and Secrets for these tests."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from isthmus.ca.material import CA_CERT, CA_KEY, CERT_CHAIN, ROOT_CERT
from isthmus.ca.signer import Signer, SigningKey, new_key, new_root, pem_of
from isthmus.model.identity import Identity, TrustDomain

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MESH = TrustDomain("cluster.local", ("old.example",))
ECHO = Identity("cluster.local", "demo", "echo")
CONTROL = "istio-system"


def root_signer(now: datetime = NOW, life: timedelta = timedelta(days=3650)) -> Signer:
    key = new_key()
    root = new_root(key, organization="cluster.local", life=life, now=now)
    return Signer(root, key, (), (root,))


def key_pem(key: SigningKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate(
    name: str,
    key: SigningKey,
    issuer: Signer,
    *,
    ca: bool = True,
    now: datetime = NOW,
    life: timedelta = timedelta(days=365),
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder(issuer.certificate.subject, subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(True, False, False, False, False, ca, ca, False, False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_authority_key(issuer), critical=False)
        .sign(issuer.key, SHA256())
    )


def _authority_key(issuer: Signer) -> x509.AuthorityKeyIdentifier:
    known = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)


def material(
    now: datetime = NOW, life: timedelta = timedelta(days=365), key: SigningKey | None = None
) -> dict[str, bytes]:
    """An operator's intermediate CA under a root, as `cacerts` holds it."""
    root = root_signer(now)
    key = key or rsa.generate_private_key(65537, 2048)
    intermediate = certificate("intermediate", key, root, now=now, life=life)
    return {
        CA_CERT: pem_of([intermediate]),
        CA_KEY: key_pem(key),
        ROOT_CERT: pem_of([root.certificate]),
        CERT_CHAIN: pem_of([intermediate, root.certificate]),
    }


def secret(name: str, data: dict[str, bytes], **metadata: Any) -> dict[str, Any]:
    encoded = {key: base64.b64encode(text).decode() for key, text in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": CONTROL} | metadata,
        "data": encoded,
    }


def csr(
    key: SigningKey | None = None,
    names: Sequence[x509.GeneralName] = (),
    *extensions: x509.ExtensionType,
    subject: str = "",
) -> str:
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    builder = x509.CertificateSigningRequestBuilder(named)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key or new_key(), SHA256()).public_bytes(Encoding.PEM).decode()


def uri(value: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(value)


def p384() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())
