"""When a credential ends. It is read, not verified, which is the API server's to do, and never shown."""

import base64
import binascii

import msgspec
from cryptography import x509

from isthmus.kube.access import Access


class _Claims(msgspec.Struct):
    exp: float | None = None
    iat: float | None = None


def expiry_of(access: Access) -> float | None:
    """When the client certificate or the token ends, whichever is first, in Unix seconds.

    None where neither says: a token that is no JWT (RFC 7519, `exp`), a token file, which is renewed.
    """
    ends = [_certificate_end(access.client_cert_pem), token_span(access.token)[1]]
    return min((end for end in ends if end is not None), default=None)


def _certificate_end(pem: bytes | None) -> float | None:
    if pem is None:
        return None
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    except ValueError:
        return None


def token_span(token: str | None) -> tuple[float | None, float | None]:
    """When a token was issued and when it ends, in Unix seconds, each None where it does not say."""
    parts = (token or "").split(".")
    if len(parts) != 3:
        return None, None
    try:
        body = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = msgspec.json.decode(body, type=_Claims)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return None, None
    return claims.iat, claims.exp
