"""Unary methods over real sockets, by gRPC's own client and by frames."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from grpc import aio

from isthmus.xds.grpc_request import timeout_of
from isthmus.xds.grpc_server import serving_grpc
from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.grpc_unary import UnaryLimits, answering
from isthmus.xds.h2_call import Call
from isthmus.xds.limits import Limits

PATH = "/test.Test/Ask"
_USUAL = UnaryLimits()
Ask = aio.UnaryUnaryMultiCallable[bytes, bytes]


class Oracle:
    """Answers as the request says, and remembers what became of each."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.asked = 0
        self.given_up = 0

    async def __call__(self, message: bytes, call: Call) -> bytes:
        self.asked += 1
        match message:
            case b"refuse":
                raise CallFailed(Status.PERMISSION_DENIED, "not you")
            case b"break":
                raise RuntimeError("a secret detail")
            case b"wait":
                try:
                    await self.free.wait()
                except asyncio.CancelledError:
                    self.given_up += 1
                    raise
            case _:
                pass
        return message * 2


@asynccontextmanager
async def scene(limits: UnaryLimits = _USUAL) -> AsyncGenerator[tuple[Oracle, aio.Channel]]:
    oracle = Oracle()
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
    async with (
        answering(oracle, limits) as handler,
        serving_grpc("127.0.0.1:0", {PATH: handler}, Limits(drain=0)) as port,
        aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
    ):
        yield oracle, channel


def asker(channel: aio.Channel) -> Callable[..., Awaitable[bytes]]:
    ask: Ask = channel.unary_unary(PATH)
    return ask


async def code_of(call: Awaitable[bytes]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


@pytest.mark.parametrize("size", [0, 10, 2_000_000])
async def test_a_message_is_answered_by_one_of_any_size(size: int) -> None:
    async with scene() as (_, channel):
        ask = asker(channel)
        assert await asyncio.gather(*(ask(b"x" * size) for _ in range(5))) == [b"x" * 2 * size] * 5


async def test_a_refusal_and_a_fault_end_their_call_alone_and_a_fault_tells_nothing() -> None:
    async with scene() as (_, channel):
        ask = asker(channel)
        assert await code_of(ask(b"refuse")) == (grpc.StatusCode.PERMISSION_DENIED, "not you")
        assert await code_of(ask(b"break")) == (grpc.StatusCode.INTERNAL, "internal error")
        assert await ask(b"x") == b"xx"


async def test_a_call_ends_with_its_own_timeout_or_with_the_methods() -> None:
    async with scene(UnaryLimits(timeout=0.2)) as (oracle, channel):
        ask = asker(channel)
        late = grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await code_of(ask(b"wait", timeout=0.05)))[0] is late
        assert (await code_of(ask(b"wait", timeout=60)))[0] is late
        assert (await code_of(ask(b"wait")))[0] is late
        async with asyncio.timeout(60):
            while oracle.given_up < 3:  # noqa: ASYNC110 (nobody is told)
                await asyncio.sleep(0.01)


async def test_calls_beyond_the_limit_are_refused_and_room_is_made_by_those_that_go() -> None:
    async with scene(UnaryLimits(at_once=2)) as (oracle, channel):
        ask = asker(channel)
        waiting = [cast("Any", ask(b"wait")) for _ in range(2)]
        async with asyncio.timeout(60):
            while oracle.asked < 2:  # noqa: ASYNC110 (nobody is told)
                await asyncio.sleep(0.01)
        assert (await code_of(ask(b"x")))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        waiting[0].cancel()
        async with asyncio.timeout(60):
            while not oracle.given_up:  # noqa: ASYNC110 (nobody is told)
                await asyncio.sleep(0.01)
        assert await ask(b"x") == b"xx"
        oracle.free.set()
        assert await waiting[1] == b"waitwait"


async def test_none_or_two_messages_are_refused() -> None:
    async with scene() as (oracle, channel):
        streams: aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(PATH)

        async def say(*messages: bytes) -> AsyncGenerator[bytes]:
            for one in messages:
                yield one

        none = grpc.StatusCode.INVALID_ARGUMENT
        for messages in ((), (b"wait", b"wait")):
            assert (await code_of(streams(say(*messages))))[0] is none
        assert oracle.asked <= 1


def test_timeouts_are_read_as_grpc_writes_them() -> None:
    for text, seconds in (
        ("1H", 3600.0),
        ("2M", 120.0),
        ("3S", 3.0),
        ("250m", 0.25),
        ("10u", 1e-5),
        ("0n", 0),
    ):
        assert timeout_of({"grpc-timeout": text}) == pytest.approx(seconds)
    assert timeout_of({}) == float("inf")
    for bad in ("", "1", "S", "-1S", "123456789S", "1s", "1S,2S"):
        with pytest.raises(CallFailed):
            timeout_of({"grpc-timeout": bad})
