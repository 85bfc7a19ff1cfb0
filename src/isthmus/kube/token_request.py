"""Short-lived tokens of a ServiceAccount (Kubernetes "TokenRequest", since 1.20)."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from isthmus.kube.errors import Unreachable


class TokenApi(Protocol):
    """What is needed of an API server; raises ApiError and Unreachable."""

    async def request(self, method: str, path: str, *, body: Any = None) -> bytes:
        """Send a JSON body."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and its end."""

    text: str = field(repr=False)
    expires: datetime


class _Status(msgspec.Struct, rename="camel"):
    token: str
    expiration_timestamp: datetime


class _Answer(msgspec.Struct):
    status: _Status


async def request_token(api: TokenApi, namespace: str, account: str, seconds: int) -> Token:
    """A new token of that account for the API server itself; it may grant less time than `seconds`.

    Raises ApiError and Unreachable.
    """
    path = f"/api/v1/namespaces/{quote(namespace)}/serviceaccounts/{quote(account)}/token"
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": seconds},
    }
    try:
        status = msgspec.json.decode(await api.request("POST", path, body=body), type=_Answer).status
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreachable("its answer is no TokenRequest") from None
    return Token(status.token, status.expiration_timestamp)
