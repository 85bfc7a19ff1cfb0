"""How often somebody may do something: token buckets by name, a bounded number of them. Pure."""

from isthmus.ca.memory import Memory

_MOST_NAMES = 20_000


class Rate:
    """`burst` at once, then `per_second`, for each name. Times are Unix seconds.

    A name that was forgotten for lack of room starts anew with its burst.
    """

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst = float(burst)
        self._per_second = per_second
        self._emptied: Memory[float] = Memory(_MOST_NAMES)
        """When each bucket was, or would have been, empty; it is full again `burst / per_second` later."""

    def has(self, name: str, now: float) -> bool:
        """Whether the name may do it once now."""
        return self._level(name, now) >= 1.0

    def take(self, name: str, now: float) -> bool:
        """Let the name do it once if it may; whether it might."""
        level = self._level(name, now)
        if level < 1.0:
            return False
        emptied = now - (level - 1.0) / self._per_second
        self._emptied.put(name.encode(), emptied, until=emptied + self._burst / self._per_second)
        return True

    def _level(self, name: str, now: float) -> float:
        emptied = self._emptied.get(name.encode(), now)
        return self._burst if emptied is None else min(self._burst, (now - emptied) * self._per_second)


def host_of(peer: str) -> str:
    """The address of a peer (`10.0.0.1:4711`) without its port."""
    return peer.rpartition(":")[0] or peer
