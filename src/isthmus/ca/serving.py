"""The certificate that the control plane's own TLS servers show: issued by the mesh's CA, renewed in use."""

import ssl
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from isthmus.ca.service import SignerSource
from isthmus.ca.signer import Lifetimes, Signer, new_key, pem_of
from isthmus.lib.tls import load_pair

_log = structlog.stdlib.get_logger(__name__)
_TRY_AGAIN = 60.0


class ServingCertificate:
    """A server's certificate for DNS `names`, and whom it believes.

    It is made anew when half of its life is over, and when another CA or root is in force; its key never
    leaves the process.
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
        self._made: tuple[Signer, float, ssl.SSLContext] | None = None

    def server_context(self) -> ssl.SSLContext:
        """The TLS side of a listener. Each handshake is by the certificate and the roots of its moment; it
        asks for a client certificate, and does without one, but not with a bad one.

        To be called when there is a CA (`CertificateAuthority.ready`).
        """
        self._current()

        def choose(connection: ssl.SSLObject, name: str, context: ssl.SSLContext) -> None:
            connection.context = self._current()

        context = _new_context()
        # OpenSSL calls this for clients that name no server too.
        context.sni_callback = choose
        return context

    def _current(self) -> ssl.SSLContext:
        """The same object until it is made anew; the last one while there is no CA, or no way to make one."""
        signer, made, now = self._source.signer, self._made, self._clock()
        if made is not None and (signer is None or (made[0] == signer and now < made[1])):
            return made[2]
        assert signer is not None, "there is a CA when the listener begins"
        try:
            context, ends = self._issue(signer, datetime.fromtimestamp(now, UTC))
        except OSError as error:
            if made is None:
                raise
            _log.error("serving certificate cannot be renewed", reason=str(error))
            self._made = signer, now + _TRY_AGAIN, made[2]
            return made[2]
        self._made = signer, (now + ends) / 2, context
        return context

    def _issue(self, signer: Signer, now: datetime) -> tuple[ssl.SSLContext, float]:
        """A new key and certificate as a handshake needs them, and when it ends in Unix seconds."""
        key, lifetimes = new_key(), self._lifetimes
        leaf = signer.issue_serving(
            self._names, key.public_key(), life=lifetimes.default, skew=lifetimes.skew, now=now
        )
        context = _new_context()
        context.load_verify_locations(cadata=signer.bundle.decode())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        load_pair(context, pem_of([leaf, *signer.chain]), pem)
        return context, leaf.not_valid_after_utc.timestamp()


def _new_context() -> ssl.SSLContext:
    """Both contexts of a handshake: the listener's, which decides how, and the one that it gives way to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["h2"])
    # A resumed session would carry a client's certificate past the roots of today.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context
