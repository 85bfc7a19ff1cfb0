"""Names to addresses, by the system's own resolver, without holding up the end of the process.

The event loop's threads are waited for when it ends, and a query that nobody answers takes half a minute.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence


async def resolve(host: str, *, timeout: float) -> Sequence[str]:
    """The IP addresses of a host, each once, in the resolver's order; an address is its own.

    Raises OSError where there are none, and TimeoutError after `timeout` seconds.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def tell(found: list[str], error: OSError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def ask() -> None:
        found, failure = list[str](), None
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except OSError as error:
            failure = error
        except UnicodeError:
            failure = OSError(f"{host!r} is no name of a host")
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, found, failure)

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    async with asyncio.timeout(timeout):
        return await answer
