"""`services/proxy` and `pods/proxy`: what reaches a Pod through the API server, and what does not."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError, web

from isthmus.lab.pki import Identity
from tests.lab.api_contract.api import MERGE_PATCH, Api, eventually, pod, service

pytestmark = pytest.mark.asyncio(loop_scope="session")
PARTS = 200
PART = b"x" * 4096


def own_address() -> str:
    """An address of this machine that is not loopback, which Pods cannot have; "" where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


async def answer(request: web.Request) -> web.StreamResponse:
    """Say what was asked; or a long body in parts, told apart by whether the client read the one before."""
    if request.path == "/long":
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(PARTS):
            await response.write(PART)
        return response
    if request.path == "/socket" and "upgrade" in request.headers:
        socket = web.WebSocketResponse(protocols=("echo",))
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data * 2)
        return socket
    if request.path == "/redirect":
        return web.Response(status=302, headers={"Location": "/elsewhere"})
    said = {
        "method": request.method,
        "path": request.raw_path,
        "body": (await request.read()).decode(),
        "headers": dict(request.headers),
    }
    return web.json_response(said, status=418 if request.path == "/teapot" else 200)


@asynccontextmanager
async def serving(address: str) -> AsyncGenerator[int]:
    runner = web.AppRunner(web.Application(), access_log=None)
    runner.app.router.add_route("*", "/{path:.*}", answer)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, 0)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def put_pod(api: Api, namespace: str, address: str, port: int, *, claimed: str = "") -> None:
    """Pod web as if it ran at that address, and Service web whose endpoints say so, or claim another."""
    container = {"name": "main", "image": "example/app", "ports": [{"containerPort": port}]}
    made = await api.call("POST", f"{namespace}/pods", pod("web", containers=[container]))
    assert made.status == 201, made.body
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    await api.call("PATCH", f"{namespace}/pods/web/status", status, content_type=MERGE_PATCH)
    ports = [{"name": "http", "port": 80, "targetPort": port}, {"name": "other", "port": 81}]
    await api.call("POST", f"{namespace}/services", service("web", ports=ports))
    target = {"kind": "Pod", "name": "web", "namespace": namespace.rpartition("/")[2]}
    body = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [claimed or address], "targetRef": target}],
        "ports": [{"name": "http", "port": port}],
    }
    slices = f"{namespace.replace('/api/v1', '/apis/discovery.k8s.io/v1')}/endpointslices"
    assert (await api.call("POST", slices, body)).status == 201


async def test_requests_reach_the_pods_of_a_service_and_their_answers_come_back(api: Api) -> None:
    address = own_address()
    if not address:
        pytest.skip("this machine has no address but loopback, where the API server asks no Pod")
    namespace = await api.namespace()
    async with serving(address) as port:
        await put_pod(api, namespace, address, port)
        for way in (
            "services/web:80",
            "services/http:web:http",
            "services/web:http",
            "pods/web",
            f"pods/web:{port}",
        ):
            path = f"{namespace}/{way}/proxy/a/b%2Fc"
            got = await api.call("GET", path, headers={"Impersonate-User": "ann"})
            assert got.status == 403, "ann has no rights"
            got = await api.call("GET", path, fieldManager="nonsense", watch="true")
            assert (got.status, got.body["path"]) == (200, "/a/b/c?fieldManager=nonsense&watch=true")
            assert (await api.call("GET", path, dryRun="All")).message == "dryRun is not supported"
        posted = await api.call("POST", f"{namespace}/services/web:80/proxy/teapot", {"a": 1})
        assert (posted.status, posted.body["method"], posted.body["body"]) == (418, "POST", '{"a": 1}')
        token = {"Authorization": "Bearer nobody", "X-Mine": "kept"}  # the certificate counts
        heard = (await api.call("GET", f"{namespace}/pods/web/proxy/", headers=token)).body["headers"]
        assert heard["X-Mine"] == "kept"
        assert not {"Authorization", "Impersonate-User"} & heard.keys()
        assert heard["Host"] == api.url.removeprefix("https://")
        assert heard["X-Forwarded-Uri"].endswith("/pods/web/proxy/")
        long = await api.call("GET", f"{namespace}/services/web:80/proxy/long")
        assert len(long.body) == PARTS * len(PART)
        async with api.session.get(
            f"{api.url}{namespace}/pods/web/proxy/redirect", allow_redirects=False
        ) as one:
            assert (one.status, one.headers["Location"]) == (302, f"{namespace}/pods/web/proxy/elsewhere")
        async with api.session.get(f"{api.url}{namespace}/pods/web/proxy", allow_redirects=False) as one:
            assert (one.status, one.headers["Location"]) == (301, f"{namespace}/pods/web/proxy/")
        for way in ("services/web:80", "pods/web"):
            url = f"{api.url}{namespace}/{way}/proxy/socket"
            async with api.session.ws_connect(url, protocols=("echo",)) as socket:
                await socket.send_str("ab" * 50_000)
                assert (socket.protocol, await socket.receive_str()) == ("echo", "ab" * 100_000)
        with pytest.raises(WSServerHandshakeError, match="418"):
            await api.session.ws_connect(f"{api.url}{namespace}/pods/web/proxy/teapot")
        other = await api.call("GET", f"{namespace}/services/web:81/proxy/")
        assert other.message == 'no endpoints available for service "web:81"'
    refused = await api.call("GET", f"{namespace}/pods/web/proxy/")
    assert (refused.status, refused.reason) == (503, "ServiceUnavailable")
    assert "error trying to reach service: " in refused.message


@pytest.mark.parametrize(
    ("way", "status", "sentence"),
    [
        ("services/ftp:web:80", 400, 'invalid service request "ftp:web:80"'),
        ("services/a:b:c:d", 400, 'invalid service request "a:b:c:d"'),
        ("pods/ftp:web:80", 400, 'invalid pod request "ftp:web:80"'),
        ("services/nobody:80", 404, 'services "nobody" not found'),
        ("pods/nobody", 404, 'pods "nobody" not found'),
        ("services/web:7", 503, 'no service port 7 found for service "web"'),
        ("services/web:80", 503, 'no endpoints available for service "web:80"'),
        ("pods/web", 400, "address not allowed"),
    ],
)
async def test_what_is_no_pod_is_not_asked(api: Api, way: str, status: int, sentence: str) -> None:
    """The Pod here has a loopback address, by which the API server would ask itself; the slice lies."""
    namespace = await api.namespace()
    await put_pod(api, namespace, "127.0.0.1", 8080, claimed="10.9.9.9")
    got = await api.call("GET", f"{namespace}/{way}/proxy/")
    assert (got.status, got.message) == (status, sentence)


async def test_the_right_to_a_proxy_is_one_of_its_own_and_names_the_port_too(api: Api) -> None:
    namespace = await api.namespace()
    rbac = namespace.replace("/api/v1", "/apis/rbac.authorization.k8s.io/v1")
    names = ["http:web:80"]
    rule: dict[str, Any] = {"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["get"]}
    await api.call(
        "POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": [{**rule, "resourceNames": names}]}
    )
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subjects = [{"kind": "User", "name": "ann"}]
    await api.call(
        "POST", f"{rbac}/rolebindings", {"metadata": {"name": "r"}, "roleRef": role, "subjects": subjects}
    )
    async with api.session_of(Identity("ann")) as ann:

        async def allowed() -> bool:
            return (
                await api.call("GET", f"{namespace}/services/http:web:80/proxy/", session=ann)
            ).status == 404

        await eventually(allowed)
        for method, way in (
            ("POST", "services/http:web:80"),
            ("GET", "services/web:80"),
            ("GET", "pods/web"),
        ):
            refused = await api.call(method, f"{namespace}/{way}/proxy/", session=ann)
            assert (refused.status, refused.reason) == (403, "Forbidden")


async def test_discovery_names_both_proxies(api: Api) -> None:
    listed = {one["name"]: one for one in (await api.call("GET", "/api/v1")).body["resources"]}
    for name, kind in (("pods/proxy", "PodProxyOptions"), ("services/proxy", "ServiceProxyOptions")):
        assert listed[name]["kind"] == kind
        assert sorted(listed[name]["verbs"]) == ["create", "delete", "get", "patch", "update"]
