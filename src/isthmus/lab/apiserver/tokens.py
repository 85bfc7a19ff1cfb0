"""Service-account tokens: JSON Web Tokens signed with the cluster's ECDSA P-256 key (ES256). Pure.

It knows form, signature and time. Whether the account and the pod of a token still exist is for `authn`.
Source: RFC 7515 (JWS), RFC 7519 (JWT), and the private claims of Kubernetes' bound service-account tokens.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from isthmus.lab.apiserver.objects import Object, encode, new_uid

ISSUER = "https://kubernetes.default.svc.cluster.local"
LEGACY_ISSUER = "kubernetes/serviceaccount"
_HALF = 32


class BadTokenError(Exception):
    """The token is malformed, not signed by this cluster, out of its time, or for another audience."""


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """Signs and checks tokens with one key."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, file: Path) -> "TokenSigner":
        """Read the key (PEM, ECDSA P-256)."""
        key = load_pem_private_key(file.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(key)

    @property
    def key_id(self) -> str:
        """The `kid` of its tokens: the digest of the public key, as kube-apiserver derives it."""
        public = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return _encode64(hashlib.sha256(public).digest())

    def sign(self, claims: Object) -> str:
        """The compact form of a token with those claims."""
        header = {"alg": "ES256", "kid": self.key_id}
        signed = f"{_encode64(encode(header))}.{_encode64(encode(claims))}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(SHA256())))
        return f"{signed}.{_encode64(r.to_bytes(_HALF) + s.to_bytes(_HALF))}"

    def verify(self, token: str, *, now: float) -> Object:
        """The claims of a token that this key signed and that is valid at `now` (Unix time, seconds)."""
        signed, _, signature_text = token.rpartition(".")
        try:
            header_text, _, claims_text = signed.partition(".")
            header = cast("Object", msgspec.json.decode(_decode64(header_text)))
            signature = _decode64(signature_text)
            if header.get("alg") != "ES256" or len(signature) != 2 * _HALF:
                raise BadTokenError("not an ES256 token")
            pair = (int.from_bytes(signature[:_HALF]), int.from_bytes(signature[_HALF:]))
            self.key.public_key().verify(encode_dss_signature(*pair), signed.encode(), ec.ECDSA(SHA256()))
            claims = cast("Object", msgspec.json.decode(_decode64(claims_text)))
        except InvalidSignature:
            raise BadTokenError("invalid signature") from None
        except (ValueError, AttributeError):
            raise BadTokenError("malformed token") from None
        if now < claims.get("nbf", 0):
            raise BadTokenError("service account token is not valid yet")
        if now >= claims.get("exp", float("inf")):
            raise BadTokenError("service account token has expired")
        return claims

    def key_set(self) -> Object:
        """The JSON Web Key Set that others verify these tokens with (RFC 7517)."""
        numbers = self.key.public_key().public_numbers()
        return {
            "keys": [
                {
                    "use": "sig",
                    "kty": "EC",
                    "kid": self.key_id,
                    "crv": "P-256",
                    "alg": "ES256",
                    "x": _encode64(numbers.x.to_bytes(_HALF)),
                    "y": _encode64(numbers.y.to_bytes(_HALF)),
                }
            ]
        }


def bound_claims(
    *, namespace: str, account: Object, audiences: Sequence[str], now: int, seconds: int, bound: Object
) -> Object:
    """The claims of a TokenRequest's token; `bound` holds what it lives with (`pod`, `secret`, `node`)."""
    name = account["metadata"]["name"]
    private: Object = {
        "namespace": namespace,
        "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]},
        **bound,
    }
    return {
        "aud": list(audiences),
        "exp": now + seconds,
        "iat": now,
        "iss": ISSUER,
        "jti": new_uid(),
        "kubernetes.io": private,
        "nbf": now,
        "sub": f"system:serviceaccount:{namespace}:{name}",
    }


def legacy_claims(*, namespace: str, account: Object, secret_name: str) -> Object:
    """The claims of the token in a Secret of type `kubernetes.io/service-account-token`: it never expires."""
    name = account["metadata"]["name"]
    prefix = "kubernetes.io/serviceaccount"
    return {
        "iss": LEGACY_ISSUER,
        f"{prefix}/namespace": namespace,
        f"{prefix}/secret.name": secret_name,
        f"{prefix}/service-account.name": name,
        f"{prefix}/service-account.uid": account["metadata"]["uid"],
        "sub": f"system:serviceaccount:{namespace}:{name}",
    }


def _encode64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
