"""Long work on the event loop, a slice at a time."""

import asyncio
import time
from collections.abc import Iterable

SLICE = 0.005


async def in_slices(steps: Iterable[object], seconds: float = SLICE) -> None:
    """Take all steps; between any two of them that are further apart than `seconds`, all others have a turn.

    So the loop is held for `seconds` and one step at most.
    """
    ends = time.perf_counter() + seconds
    for _ in steps:
        if time.perf_counter() >= ends:
            await asyncio.sleep(0)
            ends = time.perf_counter() + seconds
