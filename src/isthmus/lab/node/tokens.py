"""Service-account tokens for pods, by the TokenRequest API, bound to their pod."""

from datetime import UTC, datetime

import msgspec

from isthmus.kube.client import Client
from isthmus.kube.errors import Unreachable
from isthmus.kube.kinds import untyped
from isthmus.lab.node.podspec import Pod, TokenSource
from isthmus.lab.node.volumes import RequestToken, Token

_SERVICE_ACCOUNT = untyped("", "v1", "serviceaccounts", "ServiceAccount")


class _Status(msgspec.Struct, rename="camel"):
    token: str
    expiration_timestamp: datetime


class _Answer(msgspec.Struct):
    status: _Status


def token_requester(client: Client, pod: Pod) -> RequestToken:
    """A function that asks for tokens of the pod's service account; it raises as the client does."""

    async def request(source: TokenSource) -> Token:
        spec = {
            "audiences": [source.audience] if source.audience else [],
            "expirationSeconds": source.expiration_seconds,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": pod.metadata.name,
                "uid": pod.metadata.uid,
            },
        }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = _SERVICE_ACCOUNT.path(pod.metadata.namespace, pod.spec.service_account_name, "token")
        answer = await client.request("POST", path, body=body)
        try:
            status = msgspec.json.decode(answer, type=_Answer).status
        except msgspec.DecodeError as error:
            raise Unreachable(f"its answer to a TokenRequest is none: {error}") from None
        life = (status.expiration_timestamp - datetime.now(UTC)).total_seconds()
        return Token(status.token.encode(), life)

    return request
