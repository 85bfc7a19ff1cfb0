"""Waiting for what the controllers make in a new namespace."""

import asyncio

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import untyped

_ACCOUNT = untyped("", "v1", "serviceaccounts", "ServiceAccount")


async def default_account(client: Client, namespace: str) -> None:
    """Return when pods can be made there: the ServiceAccount `default` exists."""
    async with asyncio.timeout(20):
        while True:
            try:
                await client.get(_ACCOUNT, "default", namespace)
            except ApiError as error:
                if error.status != 404:
                    raise
                await asyncio.sleep(0.05)
            else:
                return
