"""Which credentials the control plane renews, when, and what it writes into their Secrets. Pure.

Tokens that `isthmus cluster add` made say so on their Secret; every other credential is its operator's.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from isthmus.clusters.annotations import ACCOUNT_OF, EXPIRES, LIFETIME, ORIGIN
from isthmus.clusters.expiry import token_span
from isthmus.clusters.roster import Claim
from isthmus.kube.access import Access
from isthmus.kube.decoding import Ref
from isthmus.kube.kubeconfig_text import with_token, write_kubeconfig
from isthmus.kube.token_request import Token
from isthmus.model.service import ClusterId

_EARLIEST, _LATEST = 0.4, 0.6
"""Shares of a token's life after which it is renewed, each at one of its own in between: there is as much
time again for trying until it ends, and clusters that joined together are not renewed together."""
_LEAST, _MOST = 600, 365 * 86400
"""Seconds that a token may be asked for: Kubernetes' least, and a year."""
_USUAL = 86400
_SOON = 7 * 86400.0
"""Seconds before its end from when on a credential that nobody renews is spoken of."""


@dataclass(frozen=True, slots=True)
class Renewable:
    """A token in a Secret and whose it is. `begins`, `ends` are Unix seconds, `seconds` what to ask for."""

    cluster: ClusterId
    secret: Ref
    access: Access
    namespace: str
    account: str
    seconds: int
    begins: float
    ends: float

    @property
    def due(self) -> float:
        """When to renew it, in Unix seconds: the same in every replica and after a restart."""
        seed = f"{self.cluster} {self.ends:.0f}".encode()
        spread = int.from_bytes(hashlib.sha256(seed).digest()[:4], "big") / (1 << 32)
        share = _EARLIEST + (_LATEST - _EARLIEST) * spread
        return self.begins + (self.ends - self.begins) * share


def renewable(claim: Claim) -> Renewable | None:
    """The token of a claim if it is ours to renew, else None."""
    told = claim.annotations
    namespace, _, account = told.get(ACCOUNT_OF, "").partition("/")
    if not claim.alone or claim.access is None or told.get(ORIGIN) != "token" or not account:
        return None
    issued, ends = token_span(claim.access.token)
    if ends is None:
        return None
    asked = told.get(LIFETIME, "")
    seconds = min(max(int(asked), _LEAST), _MOST) if asked.isdecimal() and len(asked) < 10 else _USUAL
    begins = ends - seconds if issued is None else min(issued, ends)
    return Renewable(claim.cluster, claim.secret, claim.access, namespace, account, seconds, begins, ends)


def renewed_access(old: Renewable, token: Token) -> Access:
    """The same server by the new token."""
    return with_token(old.access, token.text)


def renewal_patch(old: Renewable, token: Token, resource_version: str) -> dict[str, Any]:
    """A merge patch of the Secret, refused (409) if it is not at that version any more."""
    kubeconfig = write_kubeconfig(old.cluster, renewed_access(old, token))
    ends = token.expires.astimezone(UTC).isoformat(timespec="seconds")
    return {
        "metadata": {"resourceVersion": resource_version, "annotations": {EXPIRES: ends}},
        "data": {old.cluster: base64.b64encode(kubeconfig).decode()},
    }


def warn_of_end(ends: float | None, renewal: Renewable | None, now: float) -> str:
    """What to say of a credential that is near its end, "" for nothing. Times are Unix seconds."""
    if ends is None or ends <= now:
        return ""
    if renewal is not None:
        near, remedy = (renewal.ends - renewal.begins) / 4, "its renewal has failed so far"
    else:
        near, remedy = _SOON, "nobody renews it: put a new one into its Secret"
    if ends - now > near:
        return ""
    left = ends - now
    amount = f"{left / 86400:.0f} days" if left > 2 * 86400 else f"{left / 60:.0f} minutes"
    return f"its credential ends in {amount}, and {remedy}"
