"""From the joined view to the streams: a change at once, a large one by parts with turns for others between.

A cluster of thousands of services that joins is one change. To find out what it means to every proxy takes
longer than anybody should wait, and needs no hurry: names are told, and whoever reads gets what holds then.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from isthmus.lib.slices import in_slices
from isthmus.model.resources import ROUTE, ScopeChange
from isthmus.model.view import Changes

_AT_ONCE = 100
"""Services and pods of which a change is told at once."""


class Telling:
    """To be subscribed to the view. `apply` says what a change means to scopes, `publish` tells the streams,
    with the time in seconds, on the monotonic clock, at which the change was known.

    While parts are to be told, what changes then waits behind them: changes are told in their order.
    """

    def __init__(
        self,
        apply: Callable[[Changes], Sequence[ScopeChange]],
        publish: Callable[[Changes, Sequence[ScopeChange], float], None],
    ) -> None:
        self._apply = apply
        self._publish = publish
        self._waiting: deque[tuple[Changes, float]] = deque()
        """What is told by parts, the first of them perhaps in part already."""
        self._more = asyncio.Event()
        self._told = asyncio.Event()
        self._told.set()

    def __call__(self, changes: Changes) -> None:
        """Tell it, now or in a while."""
        since = time.monotonic()
        if not self._waiting and len(changes) <= _AT_ONCE:
            self._publish(changes, self._apply(changes), since)
            return
        self._waiting.append((changes, since))
        self._told.clear()
        self._more.set()

    async def told(self) -> None:
        """Until nothing waits to be told."""
        await self._told.wait()

    async def serve(self) -> None:
        """Tell what waits."""
        while True:
            await self._more.wait()
            self._more.clear()
            await in_slices(self._tell_parts())
            self._told.set()

    def _tell_parts(self) -> Iterator[None]:
        while self._waiting:
            changes, since = self._waiting[0]
            for part in changes.parts(_AT_ONCE):
                found = self._apply(part)
                _derive(found)
                self._publish(part, found, since)
                yield
            self._waiting.popleft()


def _derive(changes: Sequence[ScopeChange]) -> None:
    """Derive what changed now: a stream that is behind would have to derive all parts' together.

    But routes: each part changes those of the busy ports again.
    """
    for change in changes:
        for type_url, names in change.names.items():
            if type_url != ROUTE and change.scope.prepared:
                for name in names:
                    change.scope.get(type_url, name)
