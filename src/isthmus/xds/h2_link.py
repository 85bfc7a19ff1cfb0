"""What the parts of a connection are to each other: the listener, the socket, and the link of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from isthmus.xds.grpc_status import Status
from isthmus.xds.h2_frames import Frames, Parts
from isthmus.xds.limits import Limits

if TYPE_CHECKING:
    from isthmus.xds.h2_call import Call, End


class Socket(Protocol):
    """Where the bytes go, and what is known of the other end."""

    peer: str
    certificate: bytes | None
    paused: bool
    newcomer: bool

    def send(self, parts: Parts) -> None:
        """Send, or keep until it can be sent."""
        ...

    def unused(self) -> None:
        """There is no call, and there will be none."""
        ...

    def abort(self, end: End) -> None:
        """Close at once."""
        ...


class Host(Protocol):
    """The listener, as its sessions use it."""

    limits: Limits
    frames: Frames
    now: Callable[[], float]

    def called(self, call: Call) -> None:
        """Find who answers the call, and have it served. Raises CallFailed."""
        ...

    def woken(self, call: Call, newcomer: bool) -> None:
        """Have the call's `pump` called soon; those who are there for longer than a `newcomer` go first."""
        ...

    def ended(self, call: Call) -> None:
        """A call that was served or waited for it is over."""
        ...


class Link(Protocol):
    """The connection, as its calls use it."""

    window: int
    frame_size: int
    frames: Frames
    now: Callable[[], float]
    ended: Callable[[Call], None]
    """Count one call less."""

    @property
    def paused(self) -> bool:
        """Whether the socket has enough to do."""
        ...

    def woken(self, call: Call) -> None:
        """Have `pump` called soon."""
        ...

    def pumped(self) -> None:
        """What `woken` asked for is done."""
        ...

    def write(self, parts: Parts) -> None:
        """Send frames."""
        ...

    def kept(self, size: int) -> None:
        """So many bytes were received for a call that nobody serves yet. Raises ConnectionFailed."""
        ...

    def used(self, size: int) -> None:
        """So many of those are used, and may be sent again."""
        ...

    def credit(self, call: Call, size: int) -> None:
        """Let the peer send more on this call."""
        ...

    def accept(self, call: Call) -> None:
        """Send the header fields that come before messages."""
        ...

    def trail(self, call: Call, status: Status, reason: str) -> None:
        """Send trailers, and forget the call."""
        ...

    def reset(self, call: Call) -> None:
        """Cut the call off in the middle of a message, and forget it."""
        ...

    def leave(self) -> None:
        """Let no more calls come, and close the connection after the last."""
        ...

    def abandon(self) -> None:
        """Close the connection: something is wrong on our side of it."""
        ...
