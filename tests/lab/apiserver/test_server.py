"""What only the embedded server can be made to do: short bookmarks, forgotten versions, our own kubelet."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import unused_port

from isthmus.kube.client import running_client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import untyped
from isthmus.lab import pki
from isthmus.lab.apiserver.server import RunningServer, running_api_server
from isthmus.lab.pki import PkiFiles
from tests.lab.api_contract.api import running_session

NODE = untyped("", "v1", "nodes", "Node", namespaced=False)
POD = untyped("", "v1", "pods", "Pod")
CONFIG_MAP = untyped("", "v1", "configmaps", "ConfigMap")
SERVICE_ACCOUNT = untyped("", "v1", "serviceaccounts", "ServiceAccount")


async def _events(session: ClientSession, server: RunningServer, count: int, **query: str) -> list[Any]:
    url = f"{server.url}/api/v1/configmaps"
    async with session.get(url, params={"watch": "1", **query}) as response, asyncio.timeout(5):
        assert response.status == 200
        return [json.loads(await response.content.readline()) for _ in range(count)]


async def test_a_quiet_watch_gets_bookmarks_that_move_on() -> None:
    async with (
        running_api_server(bookmark_seconds=0.05) as server,
        running_session(server.files, pki.ADMIN) as session,
    ):
        version = str(server.cluster.store.revision)
        marks = await _events(session, server, 2, allowWatchBookmarks="true", resourceVersion=version)
    assert {one["type"] for one in marks} == {"BOOKMARK"}
    assert {one["object"]["metadata"]["resourceVersion"] for one in marks} == {version}
    assert marks[0]["object"]["kind"] == "ConfigMap"


async def test_a_watch_from_a_forgotten_version_is_told_so_by_an_event() -> None:
    async with running_api_server() as server, running_session(server.files, pki.ADMIN) as session:
        server.cluster.store.advance(server.cluster.store.revision + 10)
        (event,) = await _events(session, server, 1, resourceVersion="1")
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 1 (")


async def test_a_page_of_a_forgotten_list_has_expired() -> None:
    async with running_api_server() as server, running_client(server.access()) as client:
        for name in ("a", "b"):
            await client.create(CONFIG_MAP, {"metadata": {"name": name}}, "default")
        path = "/api/v1/namespaces/default/configmaps"
        first = json.loads(await client.request("GET", path, params={"limit": "1"}))
        server.cluster.store.advance(server.cluster.store.revision + 1)
        with pytest.raises(ApiError) as expired:
            await client.request("GET", path, params={"continue": first["metadata"]["continue"]})
    assert (expired.value.status, expired.value.reason) == (410, "Expired")


async def test_stopping_and_starting_keeps_the_state(tmp_path: Path) -> None:
    async with running_api_server(tmp_path) as server, running_client(server.access()) as client:
        created = await client.create(CONFIG_MAP, {"metadata": {"name": "kept"}}, "default")
    async with running_api_server(tmp_path) as server, running_client(server.access()) as client:
        assert await client.get(CONFIG_MAP, "kept", "default") == created
        assert server.cluster.store.revision > int(created["metadata"]["resourceVersion"])


async def test_a_stop_ends_the_watches() -> None:
    async with running_api_server() as server, running_session(server.files, pki.ADMIN) as session:
        url = f"{server.url}/api/v1/configmaps"
        response = await session.get(url, params={"watch": "1"})
        server.cluster.watches.close()
        async with asyncio.timeout(5):
            assert await response.read() == b""


@asynccontextmanager
async def running_kubelet(files: PkiFiles, port: int, asked: list[str]) -> AsyncGenerator[None]:
    """A kubelet that believes only the API server, and has one container's log."""

    async def logs(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        if request.match_info["container"] != "main":
            return web.Response(status=404, text="no such container")
        return web.Response(text="one\ntwo\n")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca_cert))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.cert("kubelet"), files.key("kubelet"))
    application = web.Application()
    application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", logs)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()


async def test_logs_come_from_the_kubelet_of_the_pods_node() -> None:
    asked: list[str] = []
    port = unused_port()
    async with running_api_server(kubelet_port=port) as server, running_client(server.access()) as client:
        await client.create(SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, "default")
        addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
        await client.create(NODE, {"metadata": {"name": "n"}, "status": {"addresses": addresses}})
        containers = [{"name": name, "image": "x"} for name in ("main", "other")]
        spec = {"nodeName": "n", "containers": containers}
        await client.create(POD, {"metadata": {"name": "p"}, "spec": spec}, "default")
        path = "/api/v1/namespaces/default/pods/p/log"
        refusals = [
            await _refusal(client.request("GET", path)),
            await _refusal(client.request("GET", path, params={"container": "none"})),
            await _refusal(client.request("GET", path, params={"container": "main"})),
        ]
        async with running_kubelet(server.files, port, asked):
            query = {"container": "main", "tailLines": "2", "previous": "false"}
            assert await client.request("GET", path, params=query) == b"one\ntwo\n"
            refusals.append(await _refusal(client.request("GET", path, params={"container": "other"})))
    assert asked[0] == "/containerLogs/default/p/main?previous=false&tailLines=2"
    assert refusals[0] == (
        400,
        "a container name must be specified for pod p, choose one of: [main other]",
    )
    assert refusals[1] == (400, "container none is not valid for pod p")
    assert refusals[2][0] == 500
    assert refusals[3] == (404, "no such container")


async def _refusal(request: Coroutine[Any, Any, bytes]) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        await request
    return refused.value.status, refused.value.message


async def test_what_is_not_built_says_so() -> None:
    async with running_api_server() as server, running_client(server.access()) as client:
        path = "/api/v1/namespaces/default/pods/p/resize"
        status, message = await _refusal(client.request("PATCH", path))
    assert status == 501
    assert message == "pods/resize is not implemented by the embedded API server"
