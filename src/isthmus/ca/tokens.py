"""Bearer tokens before anybody vouches for them: read only to see whether asking a cluster is worth it. Pure.

No signature is checked here and nothing that a token says is believed: what it claims goes into logs, and the
cluster that issued it decides (`review`).
Source: RFC 7519, Kubernetes' bound service-account tokens, Istio's rule for audiences (kubeauth).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jwt

from isthmus.ca.errors import Unauthenticated
from isthmus.ca.wording import shown

MOST_BYTES = 12 * 1024
_ACCOUNT = "system:serviceaccount:"
_BOUND = "kubernetes.io"


@dataclass(frozen=True, slots=True)
class Audiences:
    """Which tokens are for us: those that name one of `wanted` (Istio: TOKEN_AUDIENCES).

    `first_party` accepts tokens that are for the API server, or for nobody, too (Istio: `first-party-jwt`).
    Such a token lets its holder speak to the API server: this is for clusters that can issue no other.
    """

    wanted: tuple[str, ...] = ("istio-ca",)
    first_party: bool = False

    def to_demand(self, named: Sequence[str]) -> tuple[str, ...] | None:
        """The audiences to demand of a token that names those; () for none, None where it is not for us."""
        if any(audience in self.wanted for audience in named):
            return self.wanted
        return () if self.first_party and (not named or _is_api_server(named)) else None


ISTIO_CA = Audiences()


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token claims. `expires` is Unix seconds, infinite where it names no end.

    `pod` is the namespace and name of the Pod that it is bound to, None where it names none.
    """

    subject: str
    audiences: tuple[str, ...]
    expires: float
    begins: float
    pod: tuple[str, str] | None = None


def read_token(token: str) -> Claims:
    """The claims of a JWT in compact form. Raises Unauthenticated, never quoting the token."""
    if len(token) > MOST_BYTES:
        raise Unauthenticated(f"the token has {len(token)} characters, more than {MOST_BYTES}")
    try:
        # Whoever issued it verifies it: we hold no cluster's keys.
        found: Mapping[str, Any] = jwt.decode(token, options={"verify_signature": False})
        return _claims(found)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise Unauthenticated("the token is no JSON Web Token") from None


def check_token(claims: Claims, audiences: Audiences, now: float) -> tuple[str, ...]:
    """The audiences to demand of the cluster's review. Raises Unauthenticated where asking is vain."""
    claimed = claims.subject
    if claims.expires <= now:
        raise Unauthenticated(f"the token expired {now - claims.expires:.0f} s ago", claimed=claimed)
    if claims.begins > now:
        raise Unauthenticated(f"the token is valid in {claims.begins - now:.0f} s only", claimed=claimed)
    demanded = audiences.to_demand(claims.audiences)
    if demanded is None:
        named = ", ".join(shown(one) for one in claims.audiences[:4]) or "nobody"
        wanted = " or ".join(audiences.wanted)
        raise Unauthenticated(f"the token is for {named}, not for {wanted}", claimed=claimed)
    return demanded


def account_of(username: str) -> tuple[str, str] | None:
    """Namespace and name of the service account that a Kubernetes user name means, None for other users."""
    parts = username.removeprefix(_ACCOUNT).split(":")
    if not username.startswith(_ACCOUNT) or len(parts) != 2 or not all(parts):
        return None
    return parts[0], parts[1]


def _claims(found: Mapping[str, Any]) -> Claims:
    audience = found.get("aud", ())
    audiences = (audience,) if isinstance(audience, str) else tuple(cast("Sequence[object]", audience))
    return Claims(
        subject=shown(found.get("sub", "")),
        audiences=tuple(str(one) for one in audiences),
        expires=float(found.get("exp", "inf")),
        begins=float(found.get("nbf", 0)),
        pod=_pod(found.get(_BOUND)),
    )


def _pod(bound: object) -> tuple[str, str] | None:
    """Of `{"namespace": …, "pod": {"name": …, "uid": …}, …}` (Kubernetes: private claims)."""
    match bound:
        case {"namespace": str(namespace), "pod": {"name": str(name)}}:
            return namespace, name
        case _:
            return None


def _is_api_server(named: Sequence[str]) -> bool:
    """Istio's rule: one audience, `kubernetes.default.svc` and maybe more, with or without a scheme."""
    bare = named[0].removeprefix("https://").removeprefix("http://")
    return len(named) == 1 and bare.startswith("kubernetes.default.svc")
