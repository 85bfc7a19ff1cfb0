"""Quotas, counted in memory: for one replica alone. `redis_quotas` counts for many.

What does not fit is not counted, so a client that keeps trying is not kept out for ever. Memory is bounded:
when a bucket has too many keys, further ones share a count, which refuses too much rather than too little.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from isthmus.config.policy import Algorithm

PARTS = 60
"""A rolling window is counted in so many parts; the part that is leaving still counts as a whole."""
MOST_KEYS = 50_000
_REST = "\0rest"


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is counted together but for its key: one rule's quota. `window` is in seconds."""

    name: str
    most: int
    window: float
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class Taken:
    """`remaining` is what is left now; in `reset` seconds there will be more."""

    allowed: bool
    remaining: int
    reset: float


class Quotas(Protocol):
    """Where quotas are counted."""

    async def take(self, bucket: Bucket, key: str, hits: int = 1) -> Taken:
        """Take `hits` if so many are left, else none of them."""
        ...


class Window(Protocol):
    """The count of one key."""

    def take(self, bucket: Bucket, hits: int, now: float) -> Taken:
        """See `Quotas`; `now` in seconds of any clock that never goes back."""
        ...

    def is_idle(self, bucket: Bucket, now: float) -> bool:
        """Whether nothing is counted any more."""
        ...


@dataclass(slots=True)
class FixedWindow:
    """It begins with its first use."""

    began: float = float("-inf")
    used: int = 0

    def take(self, bucket: Bucket, hits: int, now: float) -> Taken:
        """See `Window`."""
        if self.is_idle(bucket, now):
            self.began, self.used = now, 0
        allowed = self.used + hits <= bucket.most
        self.used += hits if allowed else 0
        return Taken(allowed, bucket.most - self.used, self.began + bucket.window - now)

    def is_idle(self, bucket: Bucket, now: float) -> bool:
        """See `Window`."""
        return now >= self.began + bucket.window


@dataclass(slots=True)
class RollingWindow:
    """Counts by part: index of the part → hits in it."""

    parts: dict[int, int] = field(default_factory=dict[int, int])

    def take(self, bucket: Bucket, hits: int, now: float) -> Taken:
        """See `Window`."""
        length = bucket.window / PARTS
        index = int(now // length)
        for old in [part for part in self.parts if part < index - PARTS]:
            del self.parts[old]
        used = sum(self.parts.values())
        allowed = used + hits <= bucket.most
        if allowed and hits:
            self.parts[index] = self.parts.get(index, 0) + hits
            used += hits
        oldest = min(self.parts, default=index)
        return Taken(allowed, bucket.most - used, (oldest + PARTS + 1) * length - now)

    def is_idle(self, bucket: Bucket, now: float) -> bool:
        """See `Window`."""
        return max(self.parts, default=0) < int(now // (bucket.window / PARTS)) - PARTS


_WINDOWS: dict[Algorithm, Callable[[], Window]] = {
    Algorithm.FIXED: FixedWindow,
    Algorithm.ROLLING: RollingWindow,
}


class MemoryQuotas:
    """Counts of this process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, most_keys: int = MOST_KEYS) -> None:
        self.shared = 0
        """How often a key shared a count because there were too many."""
        self._clock = clock
        self._most_keys = most_keys
        self._buckets: dict[Bucket, dict[str, Window]] = {}

    async def take(self, bucket: Bucket, key: str, hits: int = 1) -> Taken:
        """See `Quotas`."""
        now = self._clock()
        windows = self._buckets.setdefault(bucket, {})
        window = windows.get(key)
        if window is None:
            if len(windows) >= self._most_keys and key != _REST:
                self.shared += 1
                return await self.take(bucket, _REST, hits)
            window = windows[key] = _WINDOWS[bucket.algorithm]()
        return window.take(bucket, hits, now)

    def sweep(self) -> None:
        """Forget what counts nothing any more. Call it every few seconds."""
        now = self._clock()
        for bucket, windows in list(self._buckets.items()):
            for key in [key for key, window in windows.items() if window.is_idle(bucket, now)]:
                del windows[key]
            if not windows:
                del self._buckets[bucket]
