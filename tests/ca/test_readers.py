"""Who may read debug pages, said by a real API server over loopback."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from isthmus.ca.errors import NotAdmitted, ProofUnavailable, Unauthenticated
from isthmus.ca.readers import AUDIENCE, Readers
from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import Unreachable
from isthmus.kube.kinds import NAMESPACE, untyped
from isthmus.lab.apiserver.server import running_api_server
from tests.ca.clusters import SERVICE_ACCOUNT, WEST
from tests.ca.making import CONTROL

_RBAC = ("rbac.authorization.k8s.io", "v1")
ROLE = untyped(*_RBAC, "clusterroles", "ClusterRole", namespaced=False)
BINDING = untyped(*_RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
PAGE = "/debug/syncz"


async def token(client: Client, namespace: str, account: str, *audiences: str) -> str:
    path = f"{SERVICE_ACCOUNT.path(namespace, account)}/token"
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": audiences},
    }
    return json.loads(await client.request("POST", path, body=body))["status"]["token"]


@asynccontextmanager
async def scene() -> AsyncGenerator[tuple[Client, Readers]]:
    async with running_api_server(name=WEST) as server, running_client(server.access()) as client:
        for namespace, account in ((CONTROL, "pilot"), ("demo", "echo"), ("demo", "reader")):
            if account != "reader":
                await client.create(NAMESPACE, {"metadata": {"name": namespace}})
            await client.create(SERVICE_ACCOUNT, {"metadata": {"name": account}}, namespace)
        rules = [{"nonResourceURLs": ["/debug/*"], "verbs": ["get"]}]
        await client.create(ROLE, {"metadata": {"name": "debug"}, "rules": rules})
        await client.create(
            BINDING,
            {
                "metadata": {"name": "debug"},
                "roleRef": {"apiGroup": _RBAC[0], "kind": "ClusterRole", "name": "debug"},
                "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "demo"}],
            },
        )
        yield client, Readers({WEST: client}, home=WEST, namespace=CONTROL)


async def test_accounts_of_the_control_planes_namespace_and_those_that_a_role_lets_may_read() -> None:
    async with scene() as (client, readers):
        for namespace, account in ((CONTROL, "pilot"), ("demo", "reader")):
            for audiences in ((), (AUDIENCE,)):
                for _ in range(2):
                    await readers.check(await token(client, namespace, account, *audiences), PAGE, "10.0.0.9")


async def test_everybody_else_is_refused_with_a_reason_and_logged_without_the_token() -> None:
    async with scene() as (client, readers):
        stranger = await token(client, "demo", "echo", AUDIENCE)
        with capture_logs() as logs:
            with pytest.raises(
                NotAdmitted, match=r"system:serviceaccount:demo:echo may not get .*/debug/syncz"
            ):
                await readers.check(stranger, PAGE, "10.0.0.9")
            for bad in ("", "garbage", "x" * 20_000, await token(client, CONTROL, "pilot", "istio-ca")):
                with pytest.raises(Unauthenticated):
                    await readers.check(bad, PAGE, "10.0.0.9")
        assert [entry["event"] for entry in logs] == ["reader refused"] * 3
        assert stranger not in repr(logs)


async def test_a_right_for_one_page_opens_no_other() -> None:
    async with scene() as (client, readers):
        reader = await token(client, "demo", "reader", AUDIENCE)
        await readers.check(reader, PAGE, "10.0.0.9")
        with pytest.raises(NotAdmitted):
            await readers.check(reader, "/elsewhere", "10.0.0.9")


class Down:
    def __init__(self) -> None:
        self.asked = 0

    async def request(self, method: str, path: str, *, body: Any = None) -> bytes:
        self.asked += 1
        raise Unreachable("no route")


async def test_nobody_reads_while_nobody_can_be_asked_and_one_address_cannot_ask_for_ever() -> None:
    down = Down()
    readers = Readers({WEST: down}, home=WEST, namespace=CONTROL, clock=lambda: 0.0)
    for number in range(100):
        with pytest.raises(ProofUnavailable):
            await readers.check(f"token {number}", PAGE, "10.0.0.9")
    assert down.asked == 20
    with pytest.raises(ProofUnavailable, match="no route"):
        await readers.check("token", PAGE, "10.0.0.10")
