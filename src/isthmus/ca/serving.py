"""The certificate that the control plane's own TLS servers show: issued by the mesh's CA, renewed in use."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from isthmus.ca.service import SignerSource
from isthmus.ca.signer import Lifetimes, Signer, new_key, pem_of


@dataclass(frozen=True, slots=True)
class Shown:
    """What a TLS server needs, PEM: its key, its chain without the root, and roots to judge clients by."""

    key: bytes = field(repr=False)
    chain: bytes
    roots: bytes


class ServingCertificate:
    """A server's certificate for DNS `names`; ask for it at each handshake.

    It is made anew when half of its life is over, and when another CA is in force. Any thread may ask.
    """

    def __init__(
        self,
        source: SignerSource,
        names: Sequence[str],
        lifetimes: Lifetimes,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._names = names
        self._lifetimes = lifetimes
        self._clock = clock
        self._made: tuple[Signer, float, Shown] | None = None

    def shown(self) -> Shown | None:
        """The same object until it is made anew; the last one while there is no CA, None before there is."""
        signer, made, now = self._source.signer, self._made, self._clock()
        if signer is None or (made is not None and made[0] == signer and now < made[1]):
            return None if made is None else made[2]
        key, life = new_key(), self._lifetimes.default
        leaf = signer.issue_serving(
            self._names,
            key.public_key(),
            life=life,
            skew=self._lifetimes.skew,
            now=datetime.fromtimestamp(now, UTC),
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        shown = Shown(pem, pem_of([leaf, *signer.chain]), signer.bundle)
        ends = min(leaf.not_valid_after_utc.timestamp(), now + life.total_seconds())
        self._made = signer, (now + ends) / 2, shown
        return shown

    def grpc_credentials(self, *, demand_client_certificate: bool) -> grpc.ServerCredentials:
        """For `add_secure_port`. gRPC for Python cannot ask for a client certificate without demanding one.

        Call it once there is a CA (`CertificateAuthority.ready`).
        """
        initial = self.shown()
        assert initial is not None, "there is a CA"
        given = initial

        def fetch() -> Any:
            nonlocal given
            shown = self.shown()
            if shown is None or shown is given:
                return None
            given = shown
            return _configuration(shown)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(initial), fetch, require_client_authentication=demand_client_certificate
        )


def _configuration(shown: Shown) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(shown.key, shown.chain)], root_certificates=shown.roots
    )
