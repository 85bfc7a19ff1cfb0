"""Who reaches whom by which protocol, as Istio's multicluster tests ask: a client's real Envoy, and the same
service in two clusters. A cluster-local service answers from the client's own; a cluster that leaves takes no
request along, and serves again once it is back.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
from aiohttp import web
from grpc import aio

from isthmus.config.mesh import MeshConfig
from isthmus.model.resources import ENDPOINT, LISTENER, PUSH_ORDER, Resource
from isthmus.model.service import ClusterId, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.translate.catalogue import Catalogue
from tests.translate.fake_view import EAST, WEST, FakeView, endpoint, proxy, service
from tests.translate.real_envoy import RealEnvoy, bound, running_envoy
from tests.xds.tls import Authority

HOME: Mapping[ClusterId, str] = {WEST: "127.0.0.1", EAST: "127.0.0.2"}
"""Where each cluster's pods are."""
HTTP, GRPC, TCP, TLS, SNIFFED = 80, 7070, 9090, 443, 8080
PORTS = {
    HTTP: Protocol.HTTP,
    GRPC: Protocol.GRPC,
    TCP: Protocol.TCP,
    TLS: Protocol.TLS,
    SNIFFED: Protocol.SNIFFED,
}
BOTH = {"west", "east"}
ECHO = ServiceKey("demo", "echo")


@asynccontextmanager
async def http_server(cluster: ClusterId) -> AsyncGenerator[int]:
    """Says its cluster, over WebSocket too."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade") != "websocket":
            return web.Response(text=f"{cluster} {request.version.major}")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(f"{cluster} {await socket.receive_str()}")
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOME[cluster], 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def grpc_server(cluster: ClusterId) -> AsyncGenerator[int]:
    async def answer(asked: AsyncIterator[bytes], _: object) -> AsyncGenerator[bytes]:
        async for each in asked:
            yield f"{cluster} ".encode() + each

    server = aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo", {"Echo": handler}),))
    port = server.add_insecure_port(f"{HOME[cluster]}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def line_server(cluster: ClusterId, context: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
    """Says its cluster before it is asked, as some protocols have it; over TLS of its own, if it has any."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{cluster}\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, HOME[cluster], 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


async def clusters_of(ask: Callable[[], Awaitable[str]], wanted: set[str]) -> None:
    """All of these answer, and no other does."""
    seen: set[str] = set()
    async with asyncio.timeout(20):
        while seen != wanted:
            seen.add((await ask()).split()[0])
            assert seen <= wanted
    assert {(await ask()).split()[0] for _ in range(8)} <= wanted


class Client:
    """The application beside the Envoy."""

    def __init__(self, envoy: RealEnvoy, trusted: ssl.SSLContext) -> None:
        self._envoy = envoy
        self._trusted = trusted

    async def http(self) -> str:
        address = await self._envoy.address_of("0.0.0.0_80")
        async with self._envoy.session.get(f"http://{address}/", headers={"Host": "echo"}) as response:
            return await response.text()

    async def sniffed(self) -> str:
        address = await self._envoy.address_of("10.1.0.1_8080")
        async with self._envoy.session.get(f"http://{address}/") as response:
            return await response.text()

    async def websocket(self) -> str:
        address = await self._envoy.address_of("0.0.0.0_80")
        host = {"Host": "echo.demo.svc.cluster.local"}
        async with self._envoy.session.ws_connect(f"http://{address}/", headers=host) as socket:
            await socket.send_str("hello")
            said = await socket.receive_str()
        assert said.endswith(" hello")
        return said

    async def grpc(self) -> str:
        address = await self._envoy.address_of("0.0.0.0_7070")
        own_name = (("grpc.default_authority", "echo.demo:7070"), ("grpc.use_local_subchannel_pool", 1))
        async with aio.insecure_channel(address, own_name) as channel:
            method: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/echo/Echo")
            call = method()
            said: list[bytes] = []
            for word in (b"one", b"two"):
                await call.write(word)
                answer = await call.read()
                assert isinstance(answer, bytes)
                said.append(answer)
            await call.done_writing()
        first, second = (each.decode().split() for each in said)
        assert (first[0], first[1], second[1]) == (second[0], "one", "two"), "a stream stays where it began"
        return first[0]

    async def tcp(self) -> str:
        return await self._line("10.1.0.1_9090")

    async def tls(self) -> str:
        return await self._line("10.1.0.1_443", self._trusted)

    async def api_server(self) -> str:
        return await self._line("10.1.0.2_443")

    async def _line(self, listener: str, trusted: ssl.SSLContext | None = None) -> str:
        host, _, port = (await self._envoy.address_of(listener)).rpartition(":")
        named = None if trusted is None else "localhost"
        reader, writer = await asyncio.open_connection(host, int(port), ssl=trusted, server_hostname=named)
        line = await reader.readline()
        writer.close()
        return line.decode()


def resources_of(catalogue: Catalogue) -> list[Resource]:
    scopes = catalogue.scopes(proxy("client"))
    found = [r for type_url in PUSH_ORDER for scope in scopes for r in scope.all(type_url)]
    return [
        bound(r) if r.type_url == LISTENER and not r.name.startswith("virtual") else r
        for r in found
        if r.name != "virtualInbound"
    ]


async def test_a_service_of_two_clusters_is_reached_in_both_by_every_protocol(tmp_path: Path) -> None:
    authority = Authority()
    trusted = ssl.create_default_context(cadata=authority.roots.decode())
    view = FakeView()
    echo = service("echo", *PORTS.items(), west="10.1.0.1", east="10.2.0.1")
    kubernetes = service("kubernetes", (443, Protocol.TLS), namespace="default", west="10.1.0.2")
    view.put(echo)
    async with AsyncExitStack() as stack:
        behind = view.backing[ECHO]
        for cluster in (WEST, EAST):
            context = authority.server_context(tmp_path)
            http = await stack.enter_async_context(http_server(cluster))
            for port, own in {
                HTTP: http,
                SNIFFED: http,
                GRPC: await stack.enter_async_context(grpc_server(cluster)),
                TCP: await stack.enter_async_context(line_server(cluster)),
                TLS: await stack.enter_async_context(line_server(cluster, context)),
            }.items():
                behind[port].append(endpoint(HOME[cluster], port=own, cluster=cluster))
        view.put(kubernetes, *behind[TCP])
        catalogue = Catalogue(view, MeshConfig())
        scopes = catalogue.scopes(proxy("client"))
        envoy = await stack.enter_async_context(running_envoy(tmp_path, resources_of(catalogue)))
        assert envoy.ads.refusals == []
        client = Client(envoy, trusted)
        everywhere = (
            client.http,
            client.websocket,
            client.grpc,
            client.tcp,
            client.tls,
            client.sniffed,
        )
        for ask in everywhere:
            await clusters_of(ask, BOTH)
        await clusters_of(client.api_server, {"west"})

        # East leaves, and comes back.
        whole = {port: list(some) for port, some in behind.items()}
        for present, wanted in (({WEST}, {"west"}), ({WEST, EAST}, BOTH)):
            for port, some in whole.items():
                behind[port] = [each for each in some if each.cluster in present]
            catalogue.apply(Changes(endpoints=frozenset({ECHO})))
            envoy.ads.put([one for scope in scopes for one in scope.all(ENDPOINT)])
            await envoy.settled()
            for ask in everywhere:
                await clusters_of(ask, wanted)
