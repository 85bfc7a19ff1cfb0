"""How many distinct values a statsd set has seen, in bounded memory.

Exact up to 1,024 values; beyond, estimated from the 1,024 least hashes (Bar-Yossef and others, RANDOM 2002),
with a standard error of 3 %. Over the last whole minute and the running one: who is scraped has no flush at
which a set could begin anew.
"""

from heapq import heapify, heappushpop

_KEPT = 1024
_HASHES = 1 << 64


class _Least:
    """The least hashes of one interval."""

    __slots__ = ("_heap", "hashes")

    def __init__(self) -> None:
        self.hashes: set[int] = set()
        self._heap: list[int] = []

    def add(self, value: int) -> None:
        if value in self.hashes:
            return
        if len(self.hashes) < _KEPT:
            self.hashes.add(value)
            if len(self.hashes) == _KEPT:
                self._heap = [-one for one in self.hashes]
                heapify(self._heap)
        elif value < -self._heap[0]:
            self.hashes.discard(-heappushpop(self._heap, -value))
            self.hashes.add(value)


class SlidingDistinct:
    """The number of distinct values in two intervals: the last whole one and the running one."""

    __slots__ = ("_newer", "_older")

    def __init__(self) -> None:
        self._older, self._newer = _Least(), _Least()

    def add(self, value: bytes) -> None:
        """Take one value. Python keys its hash anew in every process: nobody can steer the estimate."""
        self._newer.add(hash(value) % _HASHES)

    def advance(self) -> None:
        """Begin the next interval."""
        self._older, self._newer = self._newer, _Least()

    def count(self) -> float:
        """The number of distinct values: exact below 1,024."""
        hashes = sorted(self._older.hashes | self._newer.hashes)[:_KEPT]
        if len(hashes) < _KEPT:
            return float(len(hashes))
        return float(round((_KEPT - 1) * _HASHES / hashes[-1]))
