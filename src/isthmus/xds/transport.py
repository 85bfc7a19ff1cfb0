"""The seam between streams and sockets: bytes in, bytes out, closed.

A transport accepts streams, gives each to the hub as a `Wire`, and gets an `Exchange` for it. Data is pulled,
never pushed: the hub says that there is something (`Wire.wake`), the transport takes it when it can write,
and so takes the latest state however long it could not. Everything happens on one event loop, and none of
these calls blocks.
"""

from typing import Protocol


class Wire(Protocol):
    """A stream as the hub sees it; the transport implements it."""

    @property
    def peer(self) -> str:
        """Where the stream comes from, for people."""
        ...

    def wake(self) -> None:
        """`Exchange.take` may have something. Called often; it must be cheap and must not call back at
        once.
        """
        ...


class Exchange(Protocol):
    """A stream as the transport sees it; the hub implements it."""

    def receive(self, message: bytes) -> None:
        """One whole request message, without gRPC framing. Raises ProtocolError: end this stream."""
        ...

    def take(self) -> bytes | None:
        """The next response message, or None until the next wake.

        Equal content is the same bytes object for every stream, so a transport may frame it once by identity.
        """
        ...

    def closed(self) -> None:
        """The stream is over, for whatever reason: nothing more is taken in or given out. Calling it twice is
        harmless.
        """
        ...
