"""Envoy's Secret Discovery Service: the pod's certificate and the mesh's roots, state of the world.

Who may ask is whoever can open the socket: the pod's proxy user. Messages are encoded by hand; fields are
those of envoy/service/discovery/v3 and envoy/extensions/transport_sockets/tls/v3.
"""

import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import structlog

from isthmus.lib.errors import UserError
from isthmus.lib.protobuf import read_fields, text

METHOD = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
CERTIFICATE = "default"
ROOTS = "ROOTCA"
"""Istio's names of the two secrets."""
_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_INLINE_BYTES = 2

logger = structlog.get_logger()


def certificate_secret(key: bytes, chain: bytes) -> bytes:
    """The Secret `default`, serialised: a TlsCertificate of a key and a chain, both PEM."""
    tls = text(1, text(_INLINE_BYTES, chain)) + text(2, text(_INLINE_BYTES, key))
    return text(1, CERTIFICATE) + text(2, tls)


def roots_secret(bundle: bytes) -> bytes:
    """The Secret `ROOTCA`, serialised: a CertificateValidationContext."""
    return text(1, ROOTS) + text(4, text(1, text(_INLINE_BYTES, bundle)))


class Secrets:
    """The latest secret of each name, and the streams that follow them."""

    def __init__(self) -> None:
        self.rejected = 0
        """How often Envoy refused one."""
        self._known: dict[str, bytes] = {}
        self._streams: dict[SecretStream, None] = {}

    def put(self, name: str, secret: bytes) -> None:
        """Replace a secret, and send it to whoever follows it; the same one again is no news."""
        if self._known.get(name) == secret:
            return
        self._known[name] = secret
        for stream in tuple(self._streams):
            stream.wake()

    def of(self, names: tuple[str, ...]) -> tuple[bytes, ...]:
        """Those of these secrets that there are."""
        return tuple(self._known[name] for name in names if name in self._known)

    def stream(self, wake: Callable[[], None], finish: Callable[[str], None]) -> "SecretStream":
        """What serves one call: `wake` has `take` called soon, `finish` ends it, with what is wrong or ""."""
        stream = SecretStream(self, wake, finish)
        self._streams[stream] = None
        return stream

    def forget(self, stream: "SecretStream") -> None:
        """The call is over."""
        self._streams.pop(stream, None)


class SecretStream:
    """One call of StreamSecrets. A secret that is not there yet is waited for in silence, as Envoy does."""

    def __init__(self, secrets: Secrets, wake: Callable[[], None], finish: Callable[[str], None]) -> None:
        self.wake = wake
        self._secrets = secrets
        self._finish = finish
        self._names: tuple[str, ...] = ()
        self._sent: tuple[bytes, ...] = ()
        self._nonce = 0

    def receive(self, message: bytes) -> None:
        """One DiscoveryRequest: a subscription, an ACK or a NACK."""
        try:
            fields = list(read_fields(message))
            last = dict(fields)
            nonce = last.get(5, b"")
            names = tuple(
                value.decode() for number, value in fields if number == 3 and isinstance(value, bytes)
            )
            error = last.get(6)
            reason = None if not isinstance(error, bytes) else dict(read_fields(error)).get(2, b"")
        except ValueError as malformed:
            self._finish(f"this is no DiscoveryRequest: {malformed}")
            return
        if nonce and nonce != str(self._nonce).encode():
            return  # an answer to what was replaced since (xDS protocol, "ACK/NACK and resource versions")
        if reason is not None:
            self._secrets.rejected += 1
            said = reason.decode(errors="replace") if isinstance(reason, bytes) else ""
            logger.error("Envoy rejected a secret", names=names, reason=said)
        if names != self._names:
            self._names, self._sent = names, ()
        self.wake()

    def half_closed(self) -> None:
        """Envoy follows nothing any more."""
        self._finish("")

    def take(self) -> bytes | None:
        """The next DiscoveryResponse, None while Envoy has everything."""
        secrets = self._secrets.of(self._names)
        if not secrets or secrets == self._sent:
            return None
        self._sent = secrets
        self._nonce += 1
        nonce = str(self._nonce)
        resources = (text(2, text(1, _TYPE) + text(2, secret)) for secret in secrets)
        return b"".join((text(1, nonce), *resources, text(4, _TYPE), text(5, nonce)))

    def closed(self, end: object) -> None:
        """The call is over."""
        self._secrets.forget(self)


@contextmanager
def secret_socket(path: Path) -> Generator[socket.socket]:
    """A bound Unix socket that only this user may open; its file goes when the block ends.

    UserError where the folder cannot be written.
    """
    bound = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # of this container's life before
        before = os.umask(0o177)
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        bound.close()
        reason = error.strerror or str(error)
        raise UserError(
            f"The socket for Envoy's secrets cannot be made at {path}: {reason}; "
            "mount an emptyDir there, writable for user 1337."
        ) from error
    try:
        yield bound
    finally:
        bound.close()
        path.unlink(missing_ok=True)
