"""Certificates for one test: a root, a server and a client."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from isthmus.ca.signer import Signer, new_key, new_root, pem_of


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, PEM."""

    chain: bytes
    key: bytes

    @property
    def der(self) -> bytes:
        return x509.load_pem_x509_certificate(self.chain).public_bytes(Encoding.DER)


class Authority:
    """Makes certificates for `localhost`."""

    def __init__(self) -> None:
        key = new_key()
        self._now = datetime.now(UTC)
        root = new_root(key, organization="test", life=timedelta(days=1), now=self._now)
        self._signer = Signer(root, key, (), (root,))
        self.roots = pem_of([root])

    def server(self) -> Pair:
        key, hour = new_key(), timedelta(hours=1)
        leaf = self._signer.issue_serving(
            ["localhost"], key.public_key(), life=hour, skew=hour, now=self._now
        )
        return self._pair(leaf, key)

    def client(self) -> Pair:
        key, hour = new_key(), timedelta(hours=1)
        leaf = self._signer.issue("spiffe://test", key.public_key(), life=hour, skew=hour, now=self._now)
        return self._pair(leaf, key)

    def _pair(self, leaf: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
        return Pair(pem_of([leaf]), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def server_context(self, folder: Path) -> ssl.SSLContext:
        """A server's, which asks for a client certificate and does without."""
        pair = self.server()
        (folder / "chain").write_bytes(pair.chain)
        (folder / "key").write_bytes(pair.key)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=self.roots.decode())
        context.load_cert_chain(folder / "chain", folder / "key")
        context.verify_mode = ssl.CERT_OPTIONAL
        return context
