"""Probes of the application, against servers of all manners; gRPC against the real library."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import grpc
import pytest

from isthmus.agent.app_probes import make_probe
from isthmus.config.app_probes import AppProbe, Grpc, Header, HttpGet, TcpSocket, read_app_probes
from isthmus.lib.errors import UserError

HERE = "127.0.0.1"


@asynccontextmanager
async def answering(answer: Callable[[bytes], bytes]) -> AsyncGenerator[int]:
    """A server that gives each request head to `answer`, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, HERE, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def listening() -> AsyncGenerator[int]:
    """A server that closes what connects; it must be connected to while the block lasts."""
    seen = asyncio.Event()

    def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        seen.set()

    server = await asyncio.start_server(serve, HERE, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await seen.wait()
    await asyncio.sleep(0)  # the closed connection is let go in the loop's next turn


def http(port: int, path: str = "/", *headers: Header) -> AppProbe:
    return AppProbe(http_get=HttpGet(port, path, http_headers=headers), timeout_seconds=5)


async def test_an_http_probe_asks_as_the_kubelet_does() -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return b"HTTP/1.1 204 No Content\r\n\r\n"

    async with answering(answer) as port:
        probe = http(port, "health?deep=1", Header("Host", "shop.example"), Header("X-Key", "1"))
        assert await make_probe(probe, HERE) is None
    lines = asked[0].decode().split("\r\n")
    assert lines[0] == "GET /health?deep=1 HTTP/1.1"
    assert {"host: shop.example", "x-key: 1", "connection: close"} <= set(lines)
    assert any(line.startswith("user-agent: kube-probe/") for line in lines)


@pytest.mark.parametrize(
    ("status", "passes"), [(200, True), (399, True), (302, True), (400, False), (404, False), (503, False)]
)
async def test_the_status_decides(status: int, passes: bool) -> None:
    async with answering(lambda _: f"HTTP/1.1 {status} x\r\n\r\n".encode()) as port:
        reason = await make_probe(http(port), HERE)
    assert (reason is None) is passes
    assert passes or str(status) in str(reason)


async def test_redirects_are_followed_on_the_same_host_only() -> None:
    def answer(request: bytes) -> bytes:
        path = request.split()[1].decode()
        if path == "/new":
            return b"HTTP/1.1 500 no\r\n\r\n"
        location = {"/moved": "/new", "/away": "http://elsewhere.example/", "/loop": "/loop"}[path]
        return f"HTTP/1.1 302 x\r\nLocation: {location}\r\n\r\n".encode()

    async with answering(answer) as port:
        assert "500" in str(await make_probe(http(port, "/moved"), HERE))
        assert await make_probe(http(port, "/away"), HERE) is None
        assert "more than 10 redirects" in str(await make_probe(http(port, "/loop"), HERE))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed before an answer"),
        (b"SSH-2.0\r\n\r\n", "no HTTP server"),
        (b"HTTP/1.1 x\r\n\r\n", "no HTTP server"),
        (b"x" * 200_000, "too large"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "closed before an answer"),
    ],
)
async def test_what_is_no_answer_fails_with_its_reason(answer: bytes, reason: str) -> None:
    async with answering(lambda _: answer) as port:
        assert reason in str(await make_probe(http(port), HERE))
        assert await make_probe(AppProbe(grpc=Grpc(port), timeout_seconds=1), HERE) is not None


async def test_a_line_break_in_a_header_is_not_sent() -> None:
    async with answering(lambda _: b"HTTP/1.1 200 OK\r\n\r\n") as port:
        assert "line break" in str(await make_probe(http(port, "/", Header("a", "b\r\nc: d")), HERE))


async def test_a_tcp_probe_passes_where_somebody_listens() -> None:
    async with listening() as port:
        assert await make_probe(AppProbe(tcp_socket=TcpSocket(port)), HERE) is None
    assert "failed" in str(await make_probe(AppProbe(tcp_socket=TcpSocket(port)), HERE))


async def test_a_server_that_says_nothing_is_given_the_probes_time() -> None:
    gone: asyncio.Queue[None] = asyncio.Queue(2)

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.put_nowait(None)

    async with await asyncio.start_server(hold, HERE, 0) as server:
        port = server.sockets[0].getsockname()[1]
        for probe in (
            AppProbe(http_get=HttpGet(port), timeout_seconds=0.05),
            AppProbe(grpc=Grpc(port), timeout_seconds=0.05),
        ):
            assert await make_probe(probe, HERE) == "no answer within 0.05 seconds"
            await gone.get()


@asynccontextmanager
async def serving_health(answers: dict[bytes, bytes]) -> AsyncGenerator[int]:
    """A real gRPC server whose health service answers these messages; others are NOT_FOUND."""

    async def check(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        if request not in answers:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return answers[request]

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port(f"{HERE}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def test_a_grpc_probe_passes_where_the_service_is_serving() -> None:
    long = "s" * 300
    named = b"\x0a\xac\x02" + long.encode()
    async with serving_health({b"": b"\x08\x01", named: b"\x08\x02", b"\x0a\x01u": b""}) as port:

        async def check(service: str | None) -> str | None:
            return await make_probe(AppProbe(grpc=Grpc(port, service), timeout_seconds=5), HERE)

        assert await check(None) is None
        assert await check("") is None
        assert "NOT_SERVING" in str(await check(long))
        assert "UNKNOWN" in str(await check("u"))
        assert await check("other") == "the gRPC server refused the call: NOT_FOUND: unknown service"


def test_the_variable_is_istios_json() -> None:
    text = '{"/app-health/a/readyz":{"httpGet":{"path":"/r","port":80,"scheme":"HTTPS"},"timeoutSeconds":2}}'
    assert read_app_probes(text) == {
        "/app-health/a/readyz": AppProbe(http_get=HttpGet(80, "/r", "HTTPS"), timeout_seconds=2)
    }
    assert read_app_probes("") == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"/x": {"httpGet": {"port": "http"}}}'])
def test_another_text_is_refused_by_the_variables_name(text: str) -> None:
    with pytest.raises(UserError, match="ISTIO_KUBE_APP_PROBERS"):
        read_app_probes(text)
