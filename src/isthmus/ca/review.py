"""Asking a cluster whether a token is its own, and whose.

Source: Kubernetes API reference, authentication.k8s.io/v1 TokenReview.
"""

import asyncio
from typing import Any, Protocol

import msgspec

from isthmus.ca.errors import ProofUnavailable, Unauthenticated
from isthmus.ca.tokens import account_of
from isthmus.kube.errors import ApiError, Unreachable

_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
_POD_NAME = "authentication.kubernetes.io/pod-name"
_ACCOUNTS = "system:serviceaccounts"


class Reviewer(Protocol):
    """What is needed of a cluster's API server; `kube.client.Client` is one."""

    async def request(self, method: str, path: str, *, body: Any = None) -> bytes:
        """Send a JSON body; raises ApiError and Unreachable."""
        ...


class Account(msgspec.Struct, frozen=True):
    """A service account that its cluster vouched for; `pod` is "" for a token that is bound to none."""

    namespace: str
    name: str
    pod: str


class _User(msgspec.Struct):
    username: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _Status(msgspec.Struct):
    authenticated: bool = False
    user: _User | None = None
    audiences: list[str] | None = None


class _Review(msgspec.Struct):
    status: _Status


async def review_token(
    reviewer: Reviewer, token: str, audiences: tuple[str, ...], *, timeout: float
) -> Account:
    """Whose token it is, says the cluster behind `reviewer`, within `timeout` seconds.

    `audiences` are demanded of the token; () demands the API server's own. Raises Unauthenticated where the
    cluster says no, and ProofUnavailable where it says nothing or must not be asked.
    """
    spec: dict[str, Any] = {"token": token} | ({"audiences": list(audiences)} if audiences else {})
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    try:
        async with asyncio.timeout(timeout):
            answer = await reviewer.request("POST", _PATH, body=body)
        status = msgspec.json.decode(answer, type=_Review).status
    except TimeoutError:
        raise ProofUnavailable(f"its cluster did not review the token within {timeout:g} s") from None
    except Unreachable as error:
        raise ProofUnavailable(f"its cluster cannot be asked: {error.reason}") from None
    except ApiError as error:
        # Its message may repeat what was sent.
        remedy = "; grant us create on tokenreviews there" if error.status in (401, 403) else ""
        raise ProofUnavailable(
            f"its cluster refuses to review tokens: {error.status} {error.reason}{remedy}"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProofUnavailable("its cluster's answer is no TokenReview") from None
    return _account(status, audiences)


def _account(status: _Status, audiences: tuple[str, ...]) -> Account:
    user = status.user
    if not status.authenticated or user is None:
        raise Unauthenticated("its cluster does not accept the token")
    # A server that knows no audiences names none, and then has checked none (TokenReview: status.audiences).
    if audiences and not set(audiences) & set(status.audiences or ()):
        raise Unauthenticated("its cluster did not confirm the token's audience")
    account = account_of(user.username)
    if account is None or _ACCOUNTS not in (user.groups or ()):
        raise Unauthenticated("the token is no service account's")
    pods = (user.extra or {}).get(_POD_NAME) or [""]
    return Account(*account, pods[0])
