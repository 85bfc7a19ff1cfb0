"""Who asks: a client certificate or a service-account token becomes a user. It decides nothing about rights.

Source: Kubernetes "Authenticating" (X.509 client certificates, service account tokens, anonymous requests).
"""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.lab.apiserver.kinds import NODES, PODS, SECRETS, SERVICE_ACCOUNTS
from isthmus.lab.apiserver.objects import Object, metadata, section
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.store import Key, Store
from isthmus.lab.apiserver.tokens import ISSUER, LEGACY_ISSUER, BadTokenError, TokenSigner

AUTHENTICATED = "system:authenticated"
_CREDENTIAL = "authentication.kubernetes.io/credential-id"
"""Where a user's `extra` says by which credential they came."""


@dataclass(frozen=True, slots=True)
class User:
    """Who a request is from. `extra` as in UserInfo: lists of text by key."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])

    def info(self) -> Object:
        """As `UserInfo` in reviews."""
        info: Object = {"username": self.name, "uid": self.uid, "groups": list(self.groups)}
        info["extra"] = {key: list(values) for key, values in self.extra.items()}
        return {key: value for key, value in info.items() if value}


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def user_of_certificate(certificate: Mapping[str, Any], encoded: bytes = b"") -> User:
    """The user of a verified peer certificate, as `ssl.SSLSocket.getpeercert` describes it.

    With `encoded`, its DER, `extra` says by which certificate they came.
    """
    parts = [pair for relative in certificate.get("subject", ()) for pair in relative]
    name = next((value for field_, value in parts if field_ == "commonName"), "")
    groups = [value for field_, value in parts if field_ == "organizationName"]
    extra = {_CREDENTIAL: [f"X509SHA256={hashlib.sha256(encoded).hexdigest()}"]} if encoded else {}
    return User(name, (*groups, AUTHENTICATED), extra=extra)


class TokenAuthenticator:
    """Checks service-account tokens against the signing key and the objects that they are bound to."""

    def __init__(self, store: Store, signer: TokenSigner, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._signer = signer
        self._clock = clock

    def authenticate(self, token: str, audiences: Sequence[str] = ()) -> tuple[User, list[str]]:
        """The user of a token, and those of the audiences asked for (default: this server) that it is for.

        Raises BadTokenError if it is not valid now, or for none of the audiences.
        """
        claims = self._signer.verify(token, now=self._clock())
        wanted = list(audiences) or [ISSUER]
        issuer = claims.get("iss")
        if issuer not in (ISSUER, LEGACY_ISSUER):
            raise BadTokenError("unknown issuer")
        held = claims.get("aud", []) if issuer == ISSUER else [ISSUER]
        matching = [one for one in wanted if one in held]
        if not matching:
            named, asked = (" ".join(f'"{one}"' for one in each) for each in (held, wanted))
            raise BadTokenError(f"token audiences [{named}] is invalid for the target audiences [{asked}]")
        return self._bound(claims) if issuer == ISSUER else self._legacy(claims, token), matching

    def _bound(self, claims: Object) -> User:
        private = section(claims, "kubernetes.io")
        namespace = private.get("namespace", "")
        account = section(private, "serviceaccount")
        self._require(SERVICE_ACCOUNTS, namespace, account)
        extra = {_CREDENTIAL: [f"JTI={claims.get('jti', '')}"]}
        for kind, resource in (("pod", PODS), ("node", NODES), ("secret", SECRETS)):
            bound = section(private, kind)
            if not bound:
                continue
            # A token bound to a pod names the pod's node for information only: it need not exist any more.
            if kind != "node" or "pod" not in private:
                self._require(resource, namespace if resource.namespaced else "", bound)
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = [bound.get("name", "")]
                extra[f"authentication.kubernetes.io/{kind}-uid"] = [bound.get("uid", "")]
        return _account_user(namespace, account, extra)

    def _legacy(self, claims: Object, token: str) -> User:
        prefix = "kubernetes.io/serviceaccount"
        namespace = claims.get(f"{prefix}/namespace", "")
        account = {key: claims.get(f"{prefix}/service-account.{key}", "") for key in ("name", "uid")}
        self._require(SERVICE_ACCOUNTS, namespace, account)
        secret = self._store.get(SECRETS, Key(namespace, claims.get(f"{prefix}/secret.name", "")))
        held = section(secret.object, "data").get("token") if secret else None
        if held != base64.b64encode(token.encode()).decode():
            raise BadTokenError("the token's secret is gone")
        return _account_user(namespace, account, {})

    def _require(self, resource: Resource, namespace: str, bound: Object) -> None:
        found = self._store.get(resource, Key(namespace, bound.get("name", "")))
        if found is None or metadata(found.object)["uid"] != bound.get("uid"):
            raise BadTokenError(f"the token's {resource.singular} is gone")


def _account_user(namespace: str, account: Object, extra: Mapping[str, Sequence[str]]) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    name = f"system:serviceaccount:{namespace}:{account['name']}"
    return User(name, groups, account["uid"], extra)
