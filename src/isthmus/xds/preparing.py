"""Scopes that streams wait for, prepared one after the other and a little at a time. No task of its own.

What all proxies of a large mesh share takes seconds to derive, once. The stream that asks first waits, and
meanwhile everybody else is served.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import structlog

from isthmus.model.resources import Scope

log = structlog.get_logger()


class NotPreparedError(Exception):
    """A stream's scopes are being prepared: give it the same request again once it is woken."""


class Preparing:
    """Who waits, in order. `begun` is called when there is something to do."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Sequence[Scope], Callable[[], None]]] = deque()
        self.begun: Callable[[], None] = _nothing

    def wait(self, scopes: Sequence[Scope], then: Callable[[], None]) -> None:
        """Have these scopes prepared, and call `then`."""
        self._waiting.append((scopes, then))
        self.begun()

    def steps(self) -> Iterator[None]:
        """Do it, a little at each step, until nobody waits."""
        while self._waiting:
            scopes, then = self._waiting.popleft()
            for scope in scopes:
                try:
                    yield from scope.preparing()
                except Exception:
                    # It is derived as it is read, then, and whoever reads what cannot be derived is told.
                    log.exception("a scope cannot be prepared", scope=str(scope.key))
            then()


def _nothing() -> None:
    pass
