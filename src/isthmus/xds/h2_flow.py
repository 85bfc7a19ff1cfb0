"""What a peer may do: send bytes (flow control, RFC 9113, section 5.2), and make us work.

DATA passes by h2, so its windows are kept here, both ways. Every frame that is not the use of a call costs
some of a budget, which time and our own sending refill: floods of pings, settings, resets, empty frames or
credit end the connection that they came by.
"""

from collections.abc import Callable

from h2.errors import ErrorCodes

from isthmus.xds.h2_frames import CONTINUATION, HEADERS, RST_STREAM, SETTINGS

WIDEST = 2**31 - 1
_COSTS = {HEADERS: 10, CONTINUATION: 10, RST_STREAM: 10, SETTINGS: 10}
_MOST = 3000.0
_PER_SECOND = 300.0
_SENT_PER_UNIT = 512


class ConnectionFailed(Exception):  # noqa: N818 (it is how a connection ends)
    """End the connection with that code (RFC 9113, section 7)."""

    def __init__(self, code: ErrorCodes, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Inflow:
    """What a peer has sent and we have not used: of a stream, or of a connection."""

    __slots__ = ("_half", "_most", "_used", "unused")

    def __init__(self, most: int) -> None:
        self.unused = 0
        """Bytes that were received and not used."""
        self._used = 0
        """Bytes that were used, and that the peer has no credit for yet."""
        self._most = most
        self._half = most // 2

    def received(self, size: int) -> None:
        """Raises ConnectionFailed when the peer had no leave to send so much."""
        self.unused += size
        if self.unused + self._used > self._most:
            raise ConnectionFailed(ErrorCodes.FLOW_CONTROL_ERROR, "more was sent than the window allows")

    def used(self, size: int) -> int:
        """Credit to give now, 0 mostly: it is given by halves of the window."""
        self.unused -= size
        self._used += size
        return self._credit() if self._used >= self._half else 0

    def passed(self, size: int) -> int:
        """Received and used at once, so that it takes no room: whether there was leave for it is looked at
        only when there is credit to give.
        """
        self._used += size
        if self._used < self._half:
            return 0
        self.received(0)
        return self._credit()

    def _credit(self) -> int:
        credit, self._used = self._used, 0
        return credit


class Budget:
    """What a peer may make us do that is no call of ours. `sent` counts what we send, in bytes; `now` tells
    the time in seconds.
    """

    __slots__ = ("_left", "_now", "_refilled", "sent")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left = _MOST
        self._refilled = now()
        self.sent = 0

    def spend(self, kind: int) -> None:
        """A frame of that kind came. Raises ConnectionFailed when it is one too many."""
        self._left -= _COSTS.get(kind, 1)
        if self._left < 0:
            now = self._now()
            self._left += (now - self._refilled) * _PER_SECOND + self.sent / _SENT_PER_UNIT
            self._left = min(self._left, _MOST)
            self._refilled, self.sent = now, 0
            if self._left < 0:
                raise ConnectionFailed(ErrorCodes.ENHANCE_YOUR_CALM, "too many frames that say nothing")
