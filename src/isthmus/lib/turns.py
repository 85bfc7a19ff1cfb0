"""Turns of the event loop, for work that holds it up and of which much may come at once."""

import asyncio
from collections import deque


class Turns:
    """Lets one go on in each turn of the event loop, in the order in which they came."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def next(self) -> None:
        """Wait for a turn of one's own; the first does not wait."""
        loop = asyncio.get_running_loop()
        if not self._taken:
            self._taken = True
            loop.call_soon(self._give)
            return
        own: asyncio.Future[None] = loop.create_future()
        self._waiting.append(own)
        await own

    def _give(self) -> None:
        self._taken = False
        while self._waiting and not self._taken:
            following = self._waiting.popleft()
            if not following.done():
                self._taken = True
                following.set_result(None)
                asyncio.get_running_loop().call_soon(self._give)
