"""What streams wait for, prepared one after the other and a little at a time. No task of its own.

What all proxies of a large mesh share takes seconds to derive, once. The stream that asks first waits, and
meanwhile everybody else is served.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog

log = structlog.get_logger()


class NotPreparedError(Exception):
    """What a stream sees is being prepared: give it the same request again once it is woken."""


class Prepared(Protocol):
    """What can be prepared."""

    def preparing(self) -> Iterator[None]:
        """Do it, a little at each step."""
        ...


class Preparing:
    """Who waits, in order. `begun` is called when there is something to do."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Prepared, Callable[[], None]]] = deque()
        self.begun: Callable[[], None] = _nothing

    def wait(self, awaited: Prepared, then: Callable[[], None]) -> None:
        """Have it prepared, and call `then`."""
        self._waiting.append((awaited, then))
        self.begun()

    def steps(self) -> Iterator[None]:
        """Do it, a little at each step, until nobody waits."""
        while self._waiting:
            awaited, then = self._waiting.popleft()
            try:
                yield from awaited.preparing()
            except Exception:
                # It is derived as it is read, then, and whoever reads what cannot be derived is told.
                log.exception("what a proxy sees cannot be prepared")
            then()


def _nothing() -> None:
    pass
