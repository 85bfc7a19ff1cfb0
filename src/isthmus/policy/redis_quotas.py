"""Quotas that all replicas share, counted by Redis: each decision is one script, so it is exact for all.

While Redis cannot be asked, each replica counts for itself, which may allow up to `max` in each; this is
logged as it begins and ends, and is a metric.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any, cast

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from isthmus.config.policy import Algorithm
from isthmus.lib.errors import UserError
from isthmus.policy.quotas import PARTS, Bucket, MemoryQuotas, Taken

_log = structlog.get_logger(__name__)
_PREFIX = "isthmus:quota:"
_CONNECTIONS = 16
_PAUSE = 1.0
"""Seconds in which Redis is not asked after it failed."""

_FIXED = """
local most, window, hits = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
local allowed = used + hits <= most
if allowed and hits > 0 then
  redis.call('INCRBY', KEYS[1], hits)
  if used == 0 then redis.call('PEXPIRE', KEYS[1], window) end
  used = used + hits
end
local left = redis.call('PTTL', KEYS[1])
if left < 0 then left = window end
return {allowed and 1 or 0, most - used, left}
"""

_ROLLING = """
local most, window, hits = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local parts = tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local length = window / parts
local index = math.floor(now / length)
local used, oldest = 0, index
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local part = tonumber(held[i])
  if part < index - parts then
    redis.call('HDEL', KEYS[1], held[i])
  else
    used = used + tonumber(held[i + 1])
    if part < oldest then oldest = part end
  end
end
local allowed = used + hits <= most
if allowed and hits > 0 then
  redis.call('HINCRBY', KEYS[1], string.format('%d', index), hits)
  redis.call('PEXPIRE', KEYS[1], math.ceil(window + 2 * length))
  used = used + hits
end
return {allowed and 1 or 0, most - used, math.ceil((oldest + parts + 1) * length - now)}
"""


class RedisQuotas:
    """Made by `sharing_quotas` only."""

    def __init__(self, redis: "Redis", local: MemoryQuotas, *, clock: Callable[[], float]) -> None:
        self.failures = 0
        """How often Redis could not be asked."""
        self._local = local
        self._clock = clock
        self._resting_until = 0.0
        self._failing = False
        self._scripts = {
            Algorithm.FIXED: redis.register_script(_FIXED),
            Algorithm.ROLLING: redis.register_script(_ROLLING),
        }

    @property
    def failing(self) -> bool:
        """Whether each replica counts for itself now."""
        return self._failing

    async def take(self, bucket: Bucket, key: str, hits: int = 1) -> Taken:
        """See `Quotas`."""
        if self._clock() < self._resting_until:
            return await self._local.take(bucket, key, hits)
        arguments = [bucket.most, int(bucket.window * 1000), hits, PARTS]
        script = cast("Callable[..., Any]", self._scripts[bucket.algorithm])
        try:
            allowed, remaining, left = await script(keys=[_key(bucket, key)], args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            self.failures += 1
            self._resting_until = self._clock() + _PAUSE
            if not self._failing:
                self._failing = True
                _log.warning(
                    "quotas are counted by each replica alone: Redis cannot be asked", error=str(error)
                )
            return await self._local.take(bucket, key, hits)
        if self._failing:
            self._failing = False
            _log.info("quotas are shared again")
        return Taken(bool(allowed), int(remaining), left / 1000)


def _key(bucket: Bucket, key: str) -> str:
    """One Redis key a counted key. A quota that was changed counts anew."""
    digest = blake2b(key.encode(), digest_size=16).hexdigest()
    return f"{_PREFIX}{bucket.name}:{bucket.algorithm.value}:{bucket.most}:{bucket.window:g}:{digest}"


@asynccontextmanager
async def sharing_quotas(
    url: str, local: MemoryQuotas, *, timeout: float = 0.25, clock: Callable[[], float] = time.monotonic
) -> AsyncGenerator[RedisQuotas]:
    """Count in the Redis at `url` (redis:// or rediss://), waiting at most `timeout` seconds for an answer.

    Raises UserError where the URL is none. Redis need not be there yet.
    """
    try:
        pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
        )
    except ValueError as error:
        raise UserError(f"--redis-url is no URL of a Redis: {error}", exit_code=2) from None
    redis = Redis(connection_pool=pool)
    try:
        yield RedisQuotas(redis, local, clock=clock)
    finally:
        await redis.aclose()
        await pool.disconnect()
