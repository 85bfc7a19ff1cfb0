"""Two clusters that issue and review real tokens, over loopback."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import NAMESPACE, POD, untyped
from isthmus.lab.apiserver.server import running_api_server
from isthmus.model.service import ClusterId

WEST, EAST = ClusterId("west"), ClusterId("east")
SERVICE_ACCOUNT = untyped("", "v1", "serviceaccounts", "ServiceAccount")


@dataclass(frozen=True)
class Clusters:
    clients: Mapping[ClusterId, Client]

    async def token(
        self,
        cluster: ClusterId = WEST,
        account: str = "echo",
        *,
        audience: str = "istio-ca",
        pod: str = "",
        seconds: int = 3600,
    ) -> str:
        client = self.clients[cluster]
        spec: dict[str, Any] = {"audiences": [audience], "expirationSeconds": seconds}
        if pod:
            uid = (await client.get(POD, pod, "demo")).metadata.uid
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid}
        path = f"{SERVICE_ACCOUNT.path('demo', account)}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return json.loads(await client.request("POST", path, body=body))["status"]["token"]


@asynccontextmanager
async def two_clusters() -> AsyncGenerator[Clusters]:
    """Each with service accounts `echo` and `other` and a pod `echo-1` in namespace `demo`."""
    async with (
        running_api_server(name=WEST) as west,
        running_api_server(name=EAST) as east,
        running_client(west.access()) as at_west,
        running_client(east.access()) as at_east,
    ):
        for client in (at_west, at_east):
            await client.create(NAMESPACE, {"metadata": {"name": "demo"}})
            for account in ("echo", "other"):
                await client.create(SERVICE_ACCOUNT, {"metadata": {"name": account}}, "demo")
            spec = {"serviceAccountName": "echo", "containers": [{"name": "c", "image": "echo"}]}
            await client.create(POD, {"metadata": {"name": "echo-1"}, "spec": spec}, "demo")
        yield Clusters({WEST: at_west, EAST: at_east})
