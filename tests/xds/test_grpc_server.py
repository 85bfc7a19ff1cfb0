"""The server over real sockets: gRPC's own client, plain and over TLS, and peers that misbehave."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc import aio
from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from isthmus.lib.errors import UserError
from isthmus.model.identity import Identity
from isthmus.xds.grpc_request import Request
from isthmus.xds.grpc_server import Authenticate, serving_grpc
from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.h2_call import Call, End
from isthmus.xds.limits import Limits
from tests.xds.h2_rig import ECHO, PREFACE, REQUEST, Echo, framed
from tests.xds.tls import Authority

Stream = aio.StreamStreamCall[bytes, bytes]
_QUICK = Limits(drain=0.1)
_MANY = 5
ECHO_ACCOUNT = Identity("cluster.local", "demo", "echo")


class Echoes:
    """Every echo that was made."""

    def __init__(self) -> None:
        self.made: list[Echo] = []

    def __call__(self, call: Call) -> Echo:
        self.made.append(Echo(call))
        return self.made[-1]


@pytest.fixture
def echoes() -> Echoes:
    return Echoes()


@asynccontextmanager
async def serving(
    echoes: Echoes,
    limits: Limits = _QUICK,
    context: ssl.SSLContext | None = None,
    authenticate: Authenticate | None = None,
) -> AsyncGenerator[int]:
    address = "localhost:0" if context else "127.0.0.1:0"
    handlers = {ECHO: echoes}
    server = serving_grpc(address, handlers, limits, ssl_context=context, authenticate=authenticate)
    async with server as port:
        yield port


@asynccontextmanager
async def calling(
    port: int, credentials: grpc.ChannelCredentials | None = None, **more: Any
) -> AsyncGenerator[Stream]:
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
    channel = (
        aio.secure_channel(f"localhost:{port}", credentials, options=options)
        if credentials
        else aio.insecure_channel(f"127.0.0.1:{port}", options=options)
    )
    async with channel:
        call = cast("Stream", channel.stream_stream(ECHO)(**more))
        yield call
        call.cancel()


async def hear(call: Stream) -> bytes:
    async with asyncio.timeout(10):
        data = await call.read()
    assert isinstance(data, bytes)
    return data


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (a server tells nobody)
            await asyncio.sleep(0.01)


class Peer:
    """A connection on which a test writes frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(self, *frames: Frame) -> None:
        self.writer.write(b"".join(one.serialize() for one in frames))

    async def next(self, kind: type[Frame]) -> Frame:
        """The next frame of that kind."""
        async with asyncio.timeout(10):
            while True:
                head = await self._reader.readexactly(9)
                found, size = Frame.parse_frame_header(memoryview(head))
                found.parse_body(memoryview(await self._reader.readexactly(size)))
                if isinstance(found, kind):
                    return found

    async def ended(self) -> bool:
        """Whether the server closes the connection."""
        async with asyncio.timeout(10):
            while True:
                try:
                    if not await self._reader.read(65536):
                        return True
                except ConnectionResetError:
                    return True


@asynccontextmanager
async def connected(port: int) -> AsyncGenerator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()


def request() -> HeadersFrame:
    return HeadersFrame(1, Encoder().encode(list(REQUEST)), flags=["END_HEADERS"])


def hello(peer: Peer, *frames: Frame) -> None:
    peer.writer.write(PREFACE)
    peer.send(SettingsFrame(0), *frames)


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
async def test_messages_of_any_size_go_both_ways(echoes: Echoes, size: int) -> None:
    async with serving(echoes) as port, calling(port) as call:
        for _ in range(3):
            await call.write(b"x" * size)
            assert await hear(call) == b"x" * size
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK


async def test_one_large_message_reaches_fast_and_slow_readers_whole(echoes: Echoes) -> None:
    widest = 2**31 - 1
    message = bytes(range(256)) * 7000
    async with serving(echoes) as port, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connected(port)) for _ in range(4)]
        for count, peer in enumerate(peers, 1):
            peer.writer.write(PREFACE)
            peer.send(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: widest}))
            peer.send(WindowUpdateFrame(0, widest - 65_535), request())
            await until(lambda count=count: len(echoes.made) == count)
        for echo in echoes.made:
            for _ in range(_MANY):
                echo.tell(message)
            echo.tell(b"after")
        await asyncio.sleep(0.1)
        for peer in peers:  # Nobody read until now, so sockets are full.
            body = b""
            while len(body) < _MANY * len(framed(message)) + 10:
                body += cast("DataFrame", await peer.next(DataFrame)).data
            assert body == _MANY * framed(message) + framed(b"after")


async def test_compressed_calls_are_understood_and_answered(echoes: Echoes) -> None:
    async with (
        serving(echoes, Limits(gzip=True, drain=0)) as port,
        calling(port, compression=grpc.Compression.Gzip) as call,
    ):
        await call.write(b"x" * 10_000)
        assert await hear(call) == b"x" * 10_000
        assert ("grpc-encoding", "gzip") in echoes.made[0].call.request.headers.items()


async def test_over_tls_the_client_certificate_is_known_if_there_is_one(
    echoes: Echoes, tmp_path: Path
) -> None:
    authority = Authority()
    client = authority.client()
    known = grpc.ssl_channel_credentials(authority.roots, client.key, client.chain)
    unknown = grpc.ssl_channel_credentials(authority.roots)
    async with serving(echoes, _QUICK, authority.server_context(tmp_path)) as port:
        for credentials, certificate in ((known, client.der), (unknown, None)):
            async with calling(port, credentials) as call:
                await call.write(b"x" * 500_000)
                assert await hear(call) == b"x" * 500_000
            assert echoes.made[-1].call.request.certificate == certificate


async def test_over_tls_a_certificate_of_another_authority_is_refused(echoes: Echoes, tmp_path: Path) -> None:
    authority, other = Authority(), Authority().client()
    credentials = grpc.ssl_channel_credentials(authority.roots, other.key, other.chain)
    async with (
        serving(echoes, _QUICK, authority.server_context(tmp_path)) as port,
        calling(port, credentials) as call,
    ):
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert not echoes.made


async def test_without_alpn_nothing_is_served(echoes: Echoes, tmp_path: Path) -> None:
    authority = Authority()
    async with serving(echoes, _QUICK, authority.server_context(tmp_path)) as port:
        context = ssl.create_default_context(cadata=authority.roots.decode())
        reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
        async with asyncio.timeout(10):
            assert not await reader.read()
        writer.transport.abort()


async def test_callers_are_served_only_when_they_may(echoes: Echoes) -> None:
    asked: list[Request] = []
    free = asyncio.Event()

    async def authenticate(request: Request) -> Identity:
        asked.append(request)
        await free.wait()
        if request.headers.get("authorization") == "Bearer good":
            return ECHO_ACCOUNT
        raise CallFailed(Status.UNAUTHENTICATED, "no proof")

    async with serving(echoes, authenticate=authenticate) as port:
        good = (("authorization", "Bearer good"),)
        async with calling(port, metadata=good) as call, calling(port) as refused:
            await call.write(b"early")
            await refused.write(b"early")
            await until(lambda: len(asked) == 2)
            assert not echoes.made
            free.set()
            assert await hear(call) == b"early"
            assert await refused.code() is grpc.StatusCode.UNAUTHENTICATED
            assert await refused.details() == "no proof"
    assert [echo.call.identity for echo in echoes.made] == [ECHO_ACCOUNT]
    assert "good" not in repr(asked)


async def test_authentication_that_hangs_or_fails_ends_its_call_alone(echoes: Echoes) -> None:
    async def authenticate(request: Request) -> Identity:
        match request.headers["how"]:
            case "hang":
                await asyncio.Event().wait()
            case "fail":
                raise RuntimeError("a fault")
            case _:
                pass
        return ECHO_ACCOUNT

    async with serving(echoes, Limits(handshake=0.2, drain=0), authenticate=authenticate) as port:
        for how in ("hang", "fail"):
            async with calling(port, metadata=(("how", how),)) as call:
                assert await call.code() is grpc.StatusCode.UNAVAILABLE
        async with calling(port, metadata=(("how", "well"),)) as call:
            await call.write(b"x")
            assert await hear(call) == b"x"


async def test_a_peer_that_never_speaks_is_let_go(echoes: Echoes) -> None:
    async with serving(echoes, Limits(handshake=0.1, drain=0)) as port, connected(port) as peer:
        assert await peer.ended()


async def test_a_call_ends_when_the_time_that_its_caller_gave_is_over(echoes: Echoes) -> None:
    """gRPC's own client ends a call itself, so only a peer that does not can tell."""
    async with serving(echoes, Limits(drain=0)) as port, connected(port) as peer:
        for stream_id, timeout in ((1, "20m"), (3, "1x"), (5, "99999999H")):
            fields = [*REQUEST, ("grpc-timeout", timeout)]
            block = b"".join(b"\0" + text(name) + text(value) for name, value in fields)
            opening = HeadersFrame(stream_id, block, flags=["END_HEADERS"])
            hello(peer, opening) if stream_id == 1 else peer.send(opening)
        decoder, statuses = Decoder(), dict[int, str]()
        while len(statuses) < 2:
            frame = await peer.next(HeadersFrame)
            assert isinstance(frame, HeadersFrame)
            found = {str(name): str(value) for name, value in decoder.decode(frame.data)}
            if "grpc-status" in found:
                statuses[frame.stream_id] = found["grpc-status"]
        assert statuses == {1: "4", 3: "3"}
        assert [echo.ends for echo in echoes.made] == [[End.ENDED], []]


def text(value: str) -> bytes:
    return bytes((len(value),)) + value.encode()


async def test_a_silent_peer_is_pinged_and_then_let_go(echoes: Echoes) -> None:
    async with (
        serving(echoes, Limits(keepalive=0.2, keepalive_timeout=0.2, drain=0)) as port,
        connected(port) as alive,
        connected(port) as dead,
    ):
        for peer in (alive, dead):
            hello(peer, request())
        for _ in range(4):
            ping = await alive.next(PingFrame)
            assert isinstance(ping, PingFrame)
            alive.send(PingFrame(0, ping.opaque_data, flags=["ACK"]))
        assert await dead.ended()
        assert [echo.ends for echo in echoes.made] == [[], [End.GONE]]


async def test_a_connection_without_calls_is_let_go(echoes: Echoes) -> None:
    limits = Limits(idle=0.1, handshake=0.1, drain=0)
    async with serving(echoes, limits) as port, connected(port) as peer:
        hello(peer)
        assert isinstance(await peer.next(GoAwayFrame), GoAwayFrame)
        assert await peer.ended()


async def test_a_peer_whose_socket_takes_nothing_is_dropped_alone(echoes: Echoes) -> None:
    limits = Limits(stall=0.3, keepalive=0.1, drain=0)
    async with serving(echoes, limits) as port, connected(port) as stuck, calling(port) as quick:
        hello(stuck, SettingsFrame(0, {4: 2**31 - 1}), WindowUpdateFrame(0, 2**30), request())
        await until(lambda: bool(echoes.made))
        for _ in range(30):
            echoes.made[0].tell(b"x" * 1_000_000)
        await quick.write(b"x")
        assert await hear(quick) == b"x"
        await until(lambda: bool(echoes.made[0].ends))
        assert echoes.made[0].ends == [End.STALLED]
        assert len(echoes.made[0].say) > 15, "what was not written was not pulled"
        await quick.write(b"y")
        assert await hear(quick) == b"y"


async def test_more_connections_than_allowed_are_closed(echoes: Echoes) -> None:
    async with serving(echoes, Limits(connections=1, drain=0)) as port, calling(port) as call:
        await call.write(b"x")
        await hear(call)
        async with connected(port) as second:
            assert await second.ended()
        await call.write(b"x")
        assert await hear(call) == b"x"


async def test_at_its_end_calls_are_sent_away_at_different_times(echoes: Echoes) -> None:
    ended: list[float] = []
    loop = asyncio.get_running_loop()

    async def follow(call: Stream) -> None:
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        ended.append(loop.time())

    async with asyncio.TaskGroup() as group:
        async with serving(echoes, Limits(drain=0.5)) as port:
            for _ in range(8):
                channel = aio.insecure_channel(
                    f"127.0.0.1:{port}", options=(("grpc.use_local_subchannel_pool", 1),)
                )
                call = cast("Stream", channel.stream_stream(ECHO)())
                await call.write(b"x")
                await hear(call)
                group.create_task(follow(call))
            began = loop.time()
        assert loop.time() - began < 0.9
    assert max(ended) - min(ended) > 0.02


async def test_it_ends_at_once_when_it_fails(echoes: Echoes) -> None:
    with pytest.raises(RuntimeError, match="elsewhere"):
        async with serving(echoes, Limits(drain=60)) as port, calling(port) as call:
            await call.write(b"x")
            await hear(call)
            raise RuntimeError("elsewhere")


async def test_an_address_that_is_none_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"write for example 127.0.0.1"):
        async with serving_grpc("nonsense", {}):
            pass


async def test_a_unix_socket_is_served_too(echoes: Echoes, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        async with (
            serving_grpc(bound, {ECHO: echoes}, _QUICK) as port,
            aio.insecure_channel(f"unix:{path}") as channel,
        ):
            assert port == 0
            call = cast("Stream", channel.stream_stream(ECHO)())
            await call.write(b"x")
            assert await hear(call) == b"x"
            call.cancel()


async def test_a_caller_whose_certificate_is_refused_comes_back_by_another_connection(
    echoes: Echoes, tmp_path: Path
) -> None:
    """Else it would show the one that has expired for as long as its connection lives."""
    authority = Authority()
    client = authority.client()
    peers: list[str] = []

    async def authenticate(request: Request) -> Identity:
        peers.append(request.peer)
        if len(peers) == 1:
            return ECHO_ACCOUNT
        raise CallFailed(Status.UNAUTHENTICATED, "its certificate expired")

    context, credentials = (
        authority.server_context(tmp_path),
        grpc.ssl_channel_credentials(authority.roots, client.key, client.chain),
    )
    async with (
        serving(echoes, _QUICK, context, authenticate) as port,
        aio.secure_channel(f"localhost:{port}", credentials) as channel,
    ):
        first = cast("Stream", channel.stream_stream(ECHO)())
        await first.write(b"x")
        assert await hear(first) == b"x"
        for _ in range(2):
            assert (
                await cast("Stream", channel.stream_stream(ECHO)()).code() is grpc.StatusCode.UNAUTHENTICATED
            )
        await first.write(b"y")
        assert await hear(first) == b"y", "what was admitted goes on"
        first.cancel()
    assert peers[0] == peers[1] != peers[2]
