"""Short-lived tokens of the reader's account, and whether a credential does what the control plane needs.

The server may grant less time than was asked for.
"""

import asyncio
from dataclasses import replace
from typing import Any

from isthmus.kube.access import Access
from isthmus.kube.client import running_client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import ENDPOINT_SLICE, ENDPOINTS, NAMESPACE, NODE, POD, SERVICE, Kind
from isthmus.kube.token_request import request_token
from isthmus.lib.errors import UserError
from isthmus.operate.asking import Site
from isthmus.operate.credential import Credential, credential_of_token
from isthmus.operate.rights import ACCOUNT

_PATIENCE = 10
"""Seconds within which an API server must have taken note of new roles."""


async def issue_credential(site: Site, name: str, access: Access, namespace: str, seconds: int) -> Credential:
    """A kubeconfig with a new token of the reader's account, for `access`'s server. Raises UserError."""
    with site.asking(f"request a token of ServiceAccount {namespace}/{ACCOUNT}"):
        try:
            token = await request_token(site.client, namespace, ACCOUNT, seconds)
        except ApiError as error:
            if error.status in (404, 405):
                raise UserError(
                    f"{site.label}: the API server issues no token for ServiceAccount {namespace}/{ACCOUNT} "
                    f"({error.message or error.reason}); where Kubernetes has no TokenRequest (before 1.20), "
                    "use --use-current-credentials."
                ) from error
            raise
    kubeconfig = credential_of_token(name, access, token.text)
    return Credential(kubeconfig, access.server, f"{namespace}/{ACCOUNT}", token.expires, seconds)


async def verify_access(access: Access, label: str, identity: str, tried_at: Access | None = None) -> None:
    """Raise UserError unless that access may read all that is needed of the cluster with that identity.

    `tried_at` names another way to the same server, if only the control plane's network reaches the access's.
    """
    if tried_at is not None:
        access = replace(
            access, server=tried_at.server, ca_pem=tried_at.ca_pem, tls_server_name=tried_at.tls_server_name
        )
    site_label = f"{label}, with the credential for the control plane"
    async with running_client(access) as client:
        site = Site(site_label, client)
        with site.asking("use it"):
            slices = await client.serves("discovery.k8s.io", "v1", "endpointslices")
        kinds: tuple[Kind[Any], ...] = (
            NAMESPACE,
            NODE,
            POD,
            SERVICE,
            ENDPOINT_SLICE if slices else ENDPOINTS,
        )
        for kind in kinds:
            with site.asking(f"list {kind.plural}"):
                await _list_one(site, kind)
        with site.asking("read Namespace kube-system"):
            found = await client.get(NAMESPACE, "kube-system")
    if found.metadata.uid != identity:
        raise UserError(
            f"{label}: {access.server} is another cluster than the context's (kube-system has another UID); "
            "correct --server."
        )


async def _list_one(site: Site, kind: Kind[Any]) -> None:
    """Ask for one object; a server that does not know of our roles yet is asked again."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while True:
        try:
            await site.client.page(kind, limit=1)
            return
        except ApiError as error:
            if error.status != 403 or asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.2)
