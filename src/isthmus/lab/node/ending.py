"""The time that a pod has to end: whether that has begun, and when it is over."""

import asyncio
from collections.abc import Callable


class Ending:
    """`begun` is set once the pod's deletion was asked for; `kill` is called when its grace is over."""

    def __init__(self, kill: Callable[[], None]) -> None:
        self.begun = asyncio.Event()
        self._kill = kill
        self._deadline = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def within(self, grace: float) -> None:
        """End within `grace` seconds. Said again, it can only shorten the time."""
        deadline = asyncio.get_running_loop().time() + grace
        if deadline < self._deadline:
            self._deadline = deadline
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(deadline, self._kill)
        self.begun.set()

    def allow(self, grace: float) -> None:
        """Give what is left of a pod whose work is done `grace` seconds, though nobody asked for its end."""
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + grace)

    def remaining(self) -> float:
        """Seconds that are left."""
        return max(0.0, self._deadline - asyncio.get_running_loop().time())
