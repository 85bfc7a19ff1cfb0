"""When cyclic garbage is looked for: between bursts of work, not within one.

CPython looks whenever enough objects were made, which is in the middle of whatever makes them: in a process
that tells a thousand streams of a change, that is tens of milliseconds in the middle of it. Here a task looks
at the young objects about once a second, when the loop has idled, and seldom at all of them. Reference
counting frees most things at once all the same.
"""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from isthmus.lib.lifecycle import task_scope

_INTERVAL = 0.2
_YOUNG_EVERY = 1.0
_YOUNG_LATEST = 5.0
_ALL_EVERY = 600.0
_ALL_LATEST = 3600.0
_YOUNG, _ALL = 1, 2


@asynccontextmanager
async def collecting_between_bursts() -> AsyncGenerator[Callable[[], None]]:
    """Take the collector over for as long as the block lasts. One block a process.

    What is there at the start is taken to stay, and never looked at again; and so is what is there when the
    function is called that the block is given.
    """
    gc.disable()
    gc.collect()
    gc.freeze()
    try:
        async with task_scope() as tasks:
            tasks.serve(_collect_when_idle(), name="garbage")
            yield gc.freeze
    finally:
        gc.unfreeze()
        gc.enable()


async def _collect_when_idle() -> None:
    young = everything = time.monotonic()
    while True:
        worked = time.thread_time()
        await asyncio.sleep(_INTERVAL)
        now = time.monotonic()
        idle = time.thread_time() - worked < _INTERVAL / 10
        if now - everything > (_ALL_EVERY if idle else _ALL_LATEST):
            gc.collect(_ALL)
            young = everything = time.monotonic()
        elif now - young > (_YOUNG_EVERY if idle else _YOUNG_LATEST):
            gc.collect(_YOUNG)
            young = time.monotonic()
