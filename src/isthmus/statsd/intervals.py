"""When the intervals of a sliding window end."""


class Intervals:
    """Intervals of `length` seconds, one after the other from `now` on; a window has `most` of them."""

    __slots__ = ("_end", "_length", "_most")

    def __init__(self, length: float, most: int, now: float) -> None:
        self._length, self._most = length, most
        self._end = now + length

    def ended(self, now: float) -> int:
        """How many intervals ended since the last call, at most as many as the window has."""
        if now < self._end:
            return 0
        ended = int((now - self._end) / self._length) + 1
        self._end += ended * self._length
        return min(ended, self._most)
