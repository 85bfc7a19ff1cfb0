"""Files that are waited for: pipes and terminals, read and written without blocking the loop."""

import asyncio
from collections.abc import Callable
from io import FileIO

_CHUNK = 1 << 15


async def read_some(file: FileIO) -> bytes:
    """What can be read next; empty at the end, which of a terminal is when its last user has gone."""
    loop = asyncio.get_running_loop()
    while True:
        await _ready(file, loop.add_reader, loop.remove_reader)
        try:
            data = file.read(_CHUNK)
        except OSError:
            return b""
        if data is not None:
            return data


async def write_all(file: FileIO, data: bytes) -> None:
    """Write, as fast as it is read; OSError where nobody reads any more."""
    loop = asyncio.get_running_loop()
    while data:
        await _ready(file, loop.add_writer, loop.remove_writer)
        data = data[file.write(data) or 0 :]


async def _ready(file: FileIO, add: Callable[..., None], remove: Callable[[FileIO], bool]) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(file, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        remove(file)
