"""SPDY as bytes, its streams over a wire that two queues are, and what is read of clients."""

import asyncio
import struct
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab.node.streaming.commands import exit_status
from isthmus.lab.node.streaming.conversations import Size, Wanted, read_size, read_wanted
from isthmus.lab.node.streaming.dictionary import DICTIONARY
from isthmus.lab.node.streaming.forwarding import read_port
from isthmus.lab.node.streaming.frames import Data, Event, Frames, Opened, Ping, ProtocolError, Reset
from isthmus.lab.node.streaming.session import Session, running_session


class Client:
    """The client's side of the frames, written from the protocol."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def open(self, stream: int, **headers: str) -> bytes:
        block = struct.pack(">I", len(headers))
        for word in [word for pair in headers.items() for word in pair]:
            block += struct.pack(">I", len(word)) + word.encode()
        block = self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return control(1, struct.pack(">IIH", stream, 0, 0) + block)


def control(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, len(payload)) + payload


def data(stream: int, text: bytes, *, ended: bool = False) -> bytes:
    return struct.pack(">II", stream, ended << 24 | len(text)) + text


def joined(events: list[Event]) -> list[Event]:
    """The parts of data frames put together again."""
    whole: list[Event] = []
    for event in events:
        last = whole[-1] if whole else None
        if isinstance(event, Data) and isinstance(last, Data) and last.stream == event.stream:
            whole[-1] = Data(event.stream, last.data + event.data, event.ended)
        else:
            whole.append(event)
    return whole


def test_the_dictionary_is_the_one_that_peers_name_in_their_first_header() -> None:
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


@given(st.lists(st.integers(0, 400), max_size=8))
def test_frames_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    client = Client()
    said = client.open(1, streamType="stdin") + data(1, b"x" * 90) + control(6, struct.pack(">I", 7))
    said += client.open(3, streamType="stdout", port="80") + data(1, b"", ended=True)
    said += control(4, struct.pack(">I", 0)) + control(9, struct.pack(">II", 1, 9))
    said += control(3, struct.pack(">II", 3, 5))
    frames, events, at = Frames(), list[Event](), 0
    for cut in [*sorted(cuts), len(said)]:
        events += frames.feed(said[at:cut])
        at = max(at, cut)
    assert joined(events) == [
        Opened(1, {"streamtype": "stdin"}, ended=False),
        Data(1, b"x" * 90, ended=False),
        Ping(7),
        Opened(3, {"streamtype": "stdout", "port": "80"}, ended=False),
        Data(1, b"", ended=True),
        Reset(3),
    ]


@pytest.mark.parametrize(
    "said",
    [
        control(1, b"\0" * 10 + b"no zlib"),
        control(1, b"\0"),
        control(5, b""),
        struct.pack(">HHI", 0x8002, 6, 4) + b"\0\0\0\1",
        struct.pack(">HHI", 0x8003, 1, 1 << 20),
        Client().open(1, long="x" * 20_000),
        b"\x80\x03\x00\x01\x00\x00\x00\x0a" + b"\0" * 10,
    ],
    ids=["zlib", "short", "kind", "version", "frame", "headers", "empty"],
)
def test_what_is_no_spdy_or_too_much_of_it_is_an_error(said: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Frames().feed(said))


class Queues:
    """A wire whose other end is the test."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard = b""

    async def read(self) -> bytes:
        return await self.said.get()

    async def write(self, data: bytes) -> None:
        self.heard += data


@asynccontextmanager
async def session() -> AsyncGenerator[tuple[Session, Queues, Client]]:
    wire = Queues()
    async with running_session(wire) as running:
        yield running, wire, Client()


async def test_streams_are_accepted_answered_and_ended_each_for_itself() -> None:
    async with session() as (running, wire, client):
        wire.said.put_nowait(client.open(1, streamType="error") + client.open(3, streamType="data"))
        error, stream = await running.accept(), await running.accept()
        assert [one.headers["streamtype"] for one in (error, stream)] == ["error", "data"]
        wire.said.put_nowait(data(3, b"hello", ended=True))
        assert [await stream.read(), await stream.read()] == [b"hello", b""]
        before = len(wire.heard)
        await stream.write(b"y" * 40_000)
        await stream.finish()
        answer = wire.heard[before:]
        assert answer == data(3, b"y" * 32768) + data(3, b"y" * 7232) + data(3, b"", ended=True)
        wire.said.put_nowait(b"")
        await running.ended.wait()
        assert await error.read() == b""


async def test_a_stream_that_nobody_reads_holds_its_connection_and_not_our_memory() -> None:
    async with session() as (running, wire, client):
        wire.said.put_nowait(client.open(1, streamType="data"))
        stream = await running.accept()
        for _ in range(64):
            wire.said.put_nowait(data(1, b"z" * 8192))
        for _ in range(200):
            await asyncio.sleep(0)
        assert wire.said.qsize() == 31, "more than 256 KiB were taken"
        assert sum([len(await stream.read()) for _ in range(64)]) == 64 * 8192


async def test_a_client_that_opens_too_many_streams_is_refused_more() -> None:
    async with session() as (running, wire, client):
        for number in range(260):
            wire.said.put_nowait(client.open(2 * number + 1, streamType="data"))
        wire.said.put_nowait(b"")
        await running.ended.wait()
        refused = [control(3, struct.pack(">II", 2 * number + 1, 3)) for number in range(256, 260)]
        assert wire.heard.endswith(b"".join(refused))


def test_an_exit_code_or_a_signal_is_told_as_kubernetes_tells_it() -> None:
    assert exit_status(0)["status"] == "Success"
    for code, told in ((7, "7"), (-9, "137")):
        status = exit_status(code)
        assert (status["reason"], status["details"]["causes"][0]["message"]) == ("NonZeroExitCode", told)


def test_what_clients_ask_for_is_read_and_nonsense_is_none_of_it() -> None:
    assert read_wanted({"output": "1", "error": "1", "tty": "1"}) == Wanted(
        stdin=False, stdout=True, stderr=False, tty=True
    )
    with pytest.raises(ValueError, match="at least 1 of stdin, stdout, stderr"):
        read_wanted({"tty": "1"})
    assert read_size(b'{"Width":80,"Height":24}') == Size(80, 24)
    for nonsense in (b"", b"[]", b'{"Width":-1,"Height":24}', b'{"Width":80}', b'{"Width":1e9,"Height":1}'):
        assert read_size(nonsense) is None
    for nonsense in ("", "0", "65536", "http", "-1"):
        with pytest.raises(ValueError, match="is no port"):
            read_port(nonsense)
