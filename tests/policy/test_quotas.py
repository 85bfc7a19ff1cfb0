"""The contract of quotas, for those in memory and those in a real Redis; and what each has of its own."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from isthmus.config.policy import Algorithm
from isthmus.policy.quotas import Bucket, MemoryQuotas, Quotas, Taken
from isthmus.policy.redis_quotas import sharing_quotas

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None,
    reason="redis-server is not installed: shared quotas are NOT tested (apt-get install redis-server)",
)
FIXED = Bucket("demo/guard/q", 10, 60.0, Algorithm.FIXED)
ROLLING = Bucket("demo/guard/q", 10, 60.0, Algorithm.ROLLING)


@asynccontextmanager
async def running_redis(folder: Path) -> AsyncGenerator[str]:
    """A Redis of our own on a socket in `folder`; yields its URL."""
    socket = folder / "redis.sock"
    process = await asyncio.create_subprocess_exec(
        *("redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(10):
            await _answering(f"unix://{socket}")
        yield f"unix://{socket}"
    finally:
        process.terminate()
        await process.wait()


async def _answering(url: str) -> None:
    redis = Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]
    try:
        while True:
            try:
                await redis.ping()  # pyright: ignore[reportUnknownMemberType, reportGeneralTypeIssues]
            except (OSError, RedisError):
                await asyncio.sleep(0.02)
            else:
                return
    finally:
        await redis.aclose()


@pytest.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
async def quotas(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Quotas]:
    if request.param == "memory":
        yield MemoryQuotas()
        return
    async with running_redis(tmp_path) as url, sharing_quotas(url, MemoryQuotas(), timeout=5) as shared:
        yield shared


@pytest.mark.parametrize("bucket", [FIXED, ROLLING], ids=["fixed", "rolling"])
class TestContract:
    async def test_exactly_so_many_are_allowed_however_many_ask_at_once(
        self, quotas: Quotas, bucket: Bucket
    ) -> None:
        taken = await asyncio.gather(*(quotas.take(bucket, "k") for _ in range(40)))
        assert sum(one.allowed for one in taken) == 10
        assert {one.remaining for one in taken if not one.allowed} == {0}

    async def test_keys_and_buckets_are_counted_apart(self, quotas: Quotas, bucket: Bucket) -> None:
        assert (await quotas.take(bucket, "a", 10)).allowed
        assert not (await quotas.take(bucket, "a")).allowed
        assert (await quotas.take(bucket, "b")).allowed
        assert (await quotas.take(Bucket("other", 10, 60.0, bucket.algorithm), "a")).allowed

    async def test_what_does_not_fit_is_not_counted(self, quotas: Quotas, bucket: Bucket) -> None:
        assert (await quotas.take(bucket, "k", 8)).remaining == 2
        assert not (await quotas.take(bucket, "k", 3)).allowed
        assert (await quotas.take(bucket, "k", 2)).allowed

    async def test_nothing_taken_tells_what_is_left(self, quotas: Quotas, bucket: Bucket) -> None:
        await quotas.take(bucket, "k", 4)
        found = await quotas.take(bucket, "k", 0)
        assert (found.allowed, found.remaining) == (True, 6)
        assert 0 < found.reset <= 61

    async def test_none_at_all_may_be_allowed(self, quotas: Quotas, bucket: Bucket) -> None:
        assert not (await quotas.take(Bucket("none", 0, 60.0, bucket.algorithm), "k")).allowed

    async def test_a_window_ends(self, quotas: Quotas, bucket: Bucket) -> None:
        short = Bucket("short", 1, 0.2, bucket.algorithm)
        assert [(await quotas.take(short, "k")).allowed for _ in range(2)] == [True, False]
        await asyncio.sleep(0.25)
        assert (await quotas.take(short, "k")).allowed


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_rolling_window_never_allows_more_in_any_interval_of_its_length() -> None:
    clock = Clock()
    quotas = MemoryQuotas(clock=clock)
    allowed: list[float] = []
    for _ in range(2000):
        clock.now += 0.37
        if (await quotas.take(ROLLING, "k")).allowed:
            allowed.append(clock.now)
    assert len(allowed) > 100
    assert all(later - earlier > 60 for earlier, later in zip(allowed, allowed[10:], strict=False))


async def test_a_fixed_window_begins_with_its_first_use_and_says_when_it_ends() -> None:
    clock = Clock()
    quotas = MemoryQuotas(clock=clock)
    assert await quotas.take(FIXED, "k", 10) == Taken(True, 0, 60.0)
    clock.now += 59.5
    assert await quotas.take(FIXED, "k") == Taken(False, 0, 0.5)
    clock.now += 0.5
    assert (await quotas.take(FIXED, "k")).allowed


@pytest.mark.parametrize("bucket", [FIXED, ROLLING], ids=["fixed", "rolling"])
async def test_too_many_keys_share_a_count_until_others_are_idle(bucket: Bucket) -> None:
    clock = Clock()
    quotas = MemoryQuotas(clock=clock, most_keys=3)
    taken = [(await quotas.take(bucket, f"k{n}", 10)).allowed for n in range(6)]
    assert (taken, quotas.shared) == ([True] * 4 + [False] * 2, 3)
    clock.now += 120
    quotas.sweep()
    assert [(await quotas.take(bucket, f"k{n}", 10)).allowed for n in range(3)] == [True] * 3


@needs_redis
async def test_replicas_together_allow_exactly_so_many(tmp_path: Path) -> None:
    async with (
        running_redis(tmp_path) as url,
        sharing_quotas(url, MemoryQuotas(), timeout=5) as one,
        sharing_quotas(url, MemoryQuotas(), timeout=5) as other,
    ):
        for bucket in (FIXED, ROLLING):
            taken = await asyncio.gather(
                *(quotas.take(bucket, "k") for _ in range(30) for quotas in (one, other))
            )
            assert sum(found.allowed for found in taken) == 10


@needs_redis
async def test_without_redis_each_replica_counts_for_itself_until_it_is_back(tmp_path: Path) -> None:
    clock = Clock()
    async with sharing_quotas(f"unix://{tmp_path}/redis.sock", MemoryQuotas(), clock=clock) as quotas:
        assert sum([(await quotas.take(FIXED, "k")).allowed for _ in range(12)]) == 10
        assert (quotas.failing, quotas.failures) == (True, 1)
        async with running_redis(tmp_path):
            clock.now += 1.5
            assert (await quotas.take(FIXED, "k")).allowed
            assert not quotas.failing
