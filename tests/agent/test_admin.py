import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from isthmus.agent.admin import AdminClient, parse_stats
from isthmus.agent.errors import AdminUnreachableError


@asynccontextmanager
async def answering(answer: bytes, *, silent: bool = False) -> AsyncGenerator[tuple[int, list[bytes]]]:
    """A server that answers every request with the same bytes; gives its port and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if silent:
            await reader.read()
        writer.write(answer)
        writer.close()
        ended.set()

    ended = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], asked
        if asked:
            await ended.wait()


async def test_a_plain_answer_is_read_to_its_end() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nLIVE\n") as (port, asked):
        assert await AdminClient(port).get("/ready") == "LIVE\n"
    assert asked[0].startswith(b"GET /ready HTTP/1.1\r\n")


async def test_a_chunked_answer_is_put_together() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na: \r\n2;x=y\r\n1\n\r\n0\r\n\r\n"
    async with answering(answer) as (port, _):
        assert await AdminClient(port).get("/stats") == "a: 1\n"


async def test_a_post_is_a_post() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\nOK\n") as (port, asked):
        assert await AdminClient(port).post("/quitquitquit") == "OK\n"
    assert asked[0].startswith(b"POST ")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\n\r\nPRE_INITIALIZING\n",
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffff\r\n",
    ],
)
async def test_anything_but_200_is_unreachable(answer: bytes) -> None:
    async with answering(answer) as (port, _):
        with pytest.raises(AdminUnreachableError, match="GET /ready"):
            await AdminClient(port).get("/ready")


async def test_silence_is_unreachable_after_the_timeout() -> None:
    async with answering(b"", silent=True) as (port, _):
        with pytest.raises(AdminUnreachableError, match="TimeoutError"):
            await AdminClient(port, timeout=0.05).get("/ready")


async def test_a_closed_port_is_unreachable() -> None:
    async with answering(b"") as (port, _):
        pass
    with pytest.raises(AdminUnreachableError):
        await AdminClient(port).get("/ready")


def test_only_numbers_are_statistics() -> None:
    text = 'cluster.a: b.c: 3\nserver.state: 0\nversion: "x"\nh: P0(nan,1) P25(1,2)\n\n'
    assert parse_stats(text) == {"cluster.a: b.c": 3, "server.state": 0}
