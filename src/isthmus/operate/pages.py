"""A page of the running control plane, asked for through its cluster's API server (`services/proxy`).

Debug pages are shown to those with a token of an account of the control plane's namespace. The API server
keeps the operator's own credential to itself, so a token is made that is good for these pages alone, and soon
ends.
"""

import msgspec

from isthmus.kube.errors import Unreachable
from isthmus.operate.asking import ACCOUNTS, Site

_ACCOUNT = "istio-pilot-service-account"
_AUDIENCE = "isthmus-debug"
_SECONDS = 600
"""The least that Kubernetes grants."""


class _Status(msgspec.Struct):
    token: str


class _Answer(msgspec.Struct):
    status: _Status


async def read_page(control: Site, namespace: str, page: str) -> bytes:
    """What the page says. Raises ApiError, the page's own refusals included, and Unreachable."""
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [_AUDIENCE], "expirationSeconds": _SECONDS},
    }
    answer = await control.client.request("POST", ACCOUNTS.path(namespace, _ACCOUNT, "token"), body=request)
    try:
        token = msgspec.json.decode(answer, type=_Answer).status.token
    except msgspec.DecodeError:
        raise Unreachable("its answer is no TokenRequest") from None
    path = f"/api/v1/namespaces/{namespace}/services/http:istio-pilot:8080/proxy{page}"
    return await control.client.request("GET", path, headers={"X-Isthmus-Authorization": f"Bearer {token}"})
