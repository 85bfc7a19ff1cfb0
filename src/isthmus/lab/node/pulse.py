"""Something that happens again and again, and that any number of tasks may wait for."""

import asyncio


class Pulse:
    """Whoever waits is woken by the next `fire`; an earlier one is not remembered.

    Look at the state that you wait for and call `wait` without awaiting anything between: then nothing is
    missed.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wake all who wait now."""
        fired, self._event = self._event, asyncio.Event()
        fired.set()

    async def wait(self) -> None:
        """Wait for the next `fire`."""
        await self._event.wait()
