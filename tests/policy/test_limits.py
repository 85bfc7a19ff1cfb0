"""Envoy's rate limit protocol over real gRPC."""

import asyncio
from collections.abc import AsyncGenerator

import grpc
import pytest
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse

from isthmus.lib.address import HostPort
from isthmus.lib.lifecycle import task_scope
from isthmus.policy import checks, limits
from isthmus.policy.server import ServerLimits, serving_policy
from tests.policy.building import Json, policy, rulebook
from tests.policy.serving import ask, serving

OK, OVER = RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT


def limit(name: str, entries: list[Json], most: int, **more: object) -> Json:
    return {"name": name, "domain": "edge", "entries": entries, "max": most, "window": "1m", **more}


BOOK = policy(
    namespace="istio-system",
    limits=[
        limit("each", [{"key": "user"}], 2),
        limit("joe", [{"key": "user", "value": "joe"}], 1),
        limit("pair", [{"key": "user"}, {"key": "path", "value": "/x"}], 3),
        limit("watched", [{"key": "watched"}], 0, dryRun=True),
    ],
)


@pytest.fixture
async def port() -> AsyncGenerator[int]:
    async with serving(rulebook(BOOK)) as port:
        yield port


async def limited(
    port: int, *descriptors: dict[str, str], hits: int = 0, domain: str = "edge"
) -> RateLimitResponse:
    request = RateLimitRequest(domain=domain, hits_addend=hits)
    for entries in descriptors:
        made = RateLimitDescriptor()
        for key, value in entries.items():
            made.entries.add(key=key, value=value)
        request.descriptors.append(made)
    return RateLimitResponse.FromString(await ask(port, limits.METHOD, request.SerializeToString()))


async def test_each_value_is_counted_by_itself_and_the_tightest_limit_is_told(port: int) -> None:
    found = await limited(port, {"user": "ann"})
    (status,) = found.statuses
    assert (found.overall_code, status.limit_remaining, status.current_limit.requests_per_unit) == (OK, 1, 2)
    assert (status.current_limit.name, status.current_limit.unit) == ("istio-system/guard/each", 2)
    assert 58 <= status.duration_until_reset.seconds <= 60
    assert [(await limited(port, {"user": "ann"})).overall_code for _ in range(2)] == [OK, OVER]
    assert [(await limited(port, {"user": "joe"})).overall_code for _ in range(2)] == [OK, OVER]


async def test_only_descriptors_of_just_these_entries_are_limited(port: int) -> None:
    assert (await limited(port, {"user": "bob", "path": "/x"}, hits=4)).overall_code == OVER
    for free in ({"user": "bob", "path": "/y"}, {"other": "x"}, {"watched": "x"}):
        assert (await limited(port, free, hits=100)).overall_code == OK
    assert (await limited(port, {"user": "bob"}, hits=100, domain="elsewhere")).overall_code == OK


async def test_one_descriptor_over_its_limit_is_over(port: int) -> None:
    found = await limited(port, {"other": "x"}, {"user": "zoe", "path": "/x"}, {"user": "zoe"}, hits=3)
    assert (found.overall_code, [one.code for one in found.statuses]) == (OVER, [OK, OK, OVER])


@pytest.mark.parametrize(
    ("method", "message", "code"),
    [
        (limits.METHOD, b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (limits.METHOD, b"", grpc.StatusCode.INVALID_ARGUMENT),
        (checks.METHOD, b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (checks.METHOD, b"\0" * 2_000_000, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("/envoy.service.auth.v3.Authorization/Other", b"", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_nonsense_is_refused_with_a_status(
    port: int, method: str, message: bytes, code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask(port, method, message)
    assert error.value.code() is code


async def test_calls_beyond_the_limit_are_refused_at_once_and_deadlines_end_calls() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang(_: bytes, __: object) -> bytes:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("it waits for ever")

    async with (
        serving_policy(HostPort("127.0.0.1", 0), {"/x/Hang": hang}, ServerLimits(calls=1, grace=0.0)) as port,
        task_scope() as tasks,
    ):
        first = tasks.spawn(failing(port, timeout=1.0), name="first")
        await started.wait()
        assert await failing(port, timeout=5.0) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await first is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await ended.wait()


async def failing(port: int, *, timeout: float) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask(port, "/x/Hang", b"", timeout=timeout)
    return error.value.code()
