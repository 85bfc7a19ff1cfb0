"""What a connection sends, in as few writes as may be: a socket writes at once whatever it is given."""

from collections.abc import Callable

from isthmus.xds.h2_engine import Engine
from isthmus.xds.h2_frames import Parts


class Outlet:
    """Frames of one connection on their way to its socket, in order.

    What is no message waits for the end of what is being received, or for the message that comes of it.
    """

    __slots__ = ("_awaits", "_engine", "_parts", "_receiving", "_send")

    def __init__(self, send: Callable[[Parts], None], engine: Engine, greeting: bytes) -> None:
        self._send = send
        self._engine = engine
        self._parts: list[bytes | memoryview] = [greeting]
        self._receiving = False
        self._awaits = False
        """Whether `pumped` will be called for what was received."""

    def begin(self) -> None:
        """Bytes of the peer's are about to be handled."""
        self._receiving = True

    def end(self, *, at_once: bool) -> None:
        """They are handled."""
        self._receiving = False
        if (at_once or not self._awaits) and (self._parts or self._engine.made):
            self.flush()

    def woken(self) -> None:
        """A call will be pumped."""
        self._awaits = self._awaits or self._receiving

    def pumped(self) -> None:
        """It was."""
        if self._awaits:
            self.flush()

    def add(self, data: bytes) -> None:
        """Frames that are no message."""
        self._parts.append(data)
        self.settle()

    def settle(self) -> None:
        """Send what there is, unless more is to come."""
        if not self._receiving:
            self.flush()

    def write(self, parts: Parts) -> None:
        """A message, at once, behind what waits."""
        if self._awaits:
            self._awaits = False
            self._parts += (self._engine.output(), *parts)
            parts, self._parts = self._parts, []
        self._send(parts)

    def flush(self) -> None:
        """Send what there is."""
        self._awaits = False
        judged = self._engine.output()
        if judged:
            self._parts.append(judged)
        if self._parts:
            parts, self._parts = self._parts, []
            self._send(parts)
