"""The collector is taken over for the block, and garbage is found while the loop idles."""

import asyncio
import gc
import weakref

from isthmus.lib.garbage import collecting_between_bursts


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


async def test_garbage_is_found_while_the_loop_idles_and_never_by_chance() -> None:
    found = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with collecting_between_bursts():
        assert not gc.isenabled()
        knot = Knot()
        weakref.finalize(knot, loop.call_soon_threadsafe, found.set)
        del knot
        async with asyncio.timeout(10):
            await found.wait()
    assert gc.isenabled()
