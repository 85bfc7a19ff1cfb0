"""Tokens that have grown old: what a test of their renewal begins with, instead of waiting for hours."""

import base64
import json
import time

from isthmus.kube.access import Access
from isthmus.kube.kubeconfig_text import with_token, write_kubeconfig
from isthmus.kube.secret_kubeconfig import access_from_secret
from isthmus.lab.apiserver.tokens import TokenSigner


def claims_of(access: Access) -> dict[str, object]:
    """What the token of an access says of itself."""
    body = (access.token or "").split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def grown_old(name: str, kubeconfig: bytes, signer: TokenSigner, *, age: int, left: int) -> bytes:
    """A cluster's kubeconfig as it is `age` seconds after its token was issued, when `left` seconds remain.

    `signer` is the cluster's own, which takes the token for its own until that end.
    """
    access, now = access_from_secret(kubeconfig), int(time.time())
    dates = {"iat": now - age, "nbf": now - age, "exp": now + left}
    return write_kubeconfig(name, with_token(access, signer.sign({**claims_of(access), **dates})))
