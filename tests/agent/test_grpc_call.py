"""Calls to a real gRPC server, and to what is none."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import StreamEnded

from isthmus.agent.errors import CallRefusedError
from isthmus.agent.grpc_call import Call, make_call

Context = grpc.aio.ServicerContext[bytes, bytes]
Answer = Callable[[bytes, Context], Awaitable[bytes]]
PATH = "/t.Test/Ask"


@asynccontextmanager
async def serving(answer: Answer) -> AsyncGenerator[int]:
    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(
        "t.Test", {"Ask": grpc.unary_unary_rpc_method_handler(answer)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def ask(port: int, message: bytes = b"", *metadata: tuple[str, str], path: str = PATH) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            return await make_call(reader, writer, Call(path, "test", message, metadata))
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_call_carries_message_and_metadata_both_ways() -> None:
    heard: list[tuple[bytes, dict[str, str | bytes]]] = []

    async def answer(request: bytes, context: Context) -> bytes:
        heard.append((request, dict(context.invocation_metadata() or ())))
        return b"x" * 500_000  # several times what the windows allow without new credit

    async with serving(answer) as port:
        assert await ask(port, b"q" * 10_000, ("clusterid", "west")) == b"x" * 500_000
    [(request, metadata)] = heard
    assert request == b"q" * 10_000
    assert metadata["clusterid"] == "west"


async def test_a_status_other_than_ok_is_raised_with_its_name_and_reason() -> None:
    async def answer(request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you: 100 % – no")

    async with serving(answer) as port:
        with pytest.raises(CallRefusedError) as refused:
            await ask(port)
        assert refused.value.code == "PERMISSION_DENIED"
        assert str(refused.value) == "PERMISSION_DENIED: not for you: 100 % – no"
        with pytest.raises(CallRefusedError, match="UNIMPLEMENTED"):
            await ask(port, path="/t.Test/Other")


async def test_an_answer_that_is_too_large_is_given_up() -> None:
    async def answer(request: bytes, context: Context) -> bytes:
        return bytes(2_000_000)

    async with serving(answer) as port:
        with pytest.raises(CallRefusedError, match="more than 1048576 bytes"):
            await ask(port)


async def test_a_request_that_fits_into_no_frame_is_not_sent() -> None:
    with pytest.raises(ValueError, match="20000 bytes"):
        await make_call(asyncio.StreamReader(), None, Call(PATH, "t", bytes(20_000)))  # type: ignore[arg-type]


def not_found(http: H2Connection) -> None:
    http.send_headers(1, [(":status", "404")], end_stream=True)


def nothing(http: H2Connection) -> None:
    http.send_headers(1, [(":status", "200"), ("grpc-status", "0")], end_stream=True)


def refused(http: H2Connection) -> None:
    http.reset_stream(1, ErrorCodes.REFUSED_STREAM)


def going(http: H2Connection) -> None:
    http.close_connection()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (not_found, "HTTP status 404"),
        (nothing, "one message"),
        (refused, "REFUSED_STREAM"),
        (going, "NO_ERROR"),
    ],
)
async def test_an_end_without_an_answer_is_named(end: Callable[[H2Connection], None], reason: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = H2Connection(H2Configuration(client_side=False))
        http.initiate_connection()
        asked = False
        while data := await reader.read(65536):
            asked = asked or any(isinstance(event, StreamEnded) for event in http.receive_data(data))
            if asked:
                end(http)
                asked = False
            writer.write(http.data_to_send())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        with pytest.raises(CallRefusedError, match=reason):
            await ask(server.sockets[0].getsockname()[1])


@pytest.mark.parametrize(
    ("bytes_", "error"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", EOFError), (b"\0\0\1\0\0\0\0\0\0x", ConnectionError)],
)
async def test_what_speaks_no_http_2_is_told_apart(bytes_: bytes, error: type[Exception]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(bytes_)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        with pytest.raises(error):
            await ask(server.sockets[0].getsockname()[1])
