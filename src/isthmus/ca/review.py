"""Asking a cluster whether a token is its own, and whose; and whether somebody may read a path.

Source: Kubernetes API reference, authentication.k8s.io/v1 TokenReview, authorization.k8s.io/v1
SubjectAccessReview.
"""

import asyncio
from typing import Any, Protocol

import msgspec

from isthmus.ca.errors import ProofUnavailable, Unauthenticated
from isthmus.ca.tokens import account_of
from isthmus.kube.errors import ApiError, Unreachable

_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCESS_PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
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


class User(msgspec.Struct):
    """Somebody whom an API server knows."""

    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None

    @property
    def account(self) -> Account | None:
        """The service account that it is, None for other users."""
        named = account_of(self.username)
        if named is None or _ACCOUNTS not in (self.groups or ()):
            return None
        pods = (self.extra or {}).get(_POD_NAME) or [""]
        return Account(*named, pods[0])


class _Status(msgspec.Struct):
    authenticated: bool = False
    user: User | None = None
    audiences: list[str] | None = None


class _Review(msgspec.Struct):
    status: _Status


class _Access(msgspec.Struct):
    allowed: bool = False


class _AccessReview(msgspec.Struct):
    status: _Access


async def review_token(
    reviewer: Reviewer, token: str, audiences: tuple[str, ...], *, timeout: float
) -> Account:
    """Whose token it is, says the cluster behind `reviewer`, within `timeout` seconds.

    `audiences` are demanded of the token; () demands the API server's own. Raises Unauthenticated where the
    cluster says no, and ProofUnavailable where it says nothing or must not be asked.
    """
    account = (await review_user(reviewer, token, audiences, timeout=timeout)).account
    if account is None:
        raise Unauthenticated("the token is no service account's")
    return account


async def review_user(reviewer: Reviewer, token: str, audiences: tuple[str, ...], *, timeout: float) -> User:
    """As `review_token`, for whoever may have tokens: people too."""
    spec: dict[str, Any] = {"token": token} | ({"audiences": list(audiences)} if audiences else {})
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    answer = await _ask(reviewer, _PATH, body, "review the token", timeout)
    try:
        status = msgspec.json.decode(answer, type=_Review).status
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProofUnavailable("its cluster's answer is no TokenReview") from None
    if not status.authenticated or status.user is None:
        raise Unauthenticated("its cluster does not accept the token")
    # A server that knows no audiences names none, and then has checked none (TokenReview: status.audiences).
    if audiences and not set(audiences) & set(status.audiences or ()):
        raise Unauthenticated("its cluster did not confirm the token's audience")
    return status.user


async def may_read(reviewer: Reviewer, user: User, path: str, *, timeout: float) -> bool:
    """Whether the cluster's rules let that user `get` the non-resource URL. Raises ProofUnavailable."""
    spec = {
        "user": user.username,
        "uid": user.uid,
        "groups": user.groups or [],
        "extra": user.extra or {},
        "nonResourceAttributes": {"path": path, "verb": "get"},
    }
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answer = await _ask(reviewer, _ACCESS_PATH, body, "review access", timeout)
    try:
        return msgspec.json.decode(answer, type=_AccessReview).status.allowed
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProofUnavailable("its cluster's answer is no SubjectAccessReview") from None


async def _ask(reviewer: Reviewer, path: str, body: dict[str, Any], what: str, timeout: float) -> bytes:
    try:
        async with asyncio.timeout(timeout):
            return await reviewer.request("POST", path, body=body)
    except TimeoutError:
        raise ProofUnavailable(f"its cluster did not {what} within {timeout:g} s") from None
    except Unreachable as error:
        raise ProofUnavailable(f"its cluster cannot be asked: {error.reason}") from None
    except ApiError as error:
        # Its message may repeat what was sent.
        resource = path.rpartition("/")[2]
        remedy = f"; grant us create on {resource} there" if error.status in (401, 403) else ""
        raise ProofUnavailable(
            f"its cluster refuses to {what}: {error.status} {error.reason}{remedy}"
        ) from None
