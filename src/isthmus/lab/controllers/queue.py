"""Requests to reconcile: only names, each at most once, retried with growing delays when they fail."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lab.controllers.objects import Key
from isthmus.lib.backoff import Backoff

log = structlog.get_logger()


class WorkQueue:
    """Names that wait for their turn, oldest first. Adding a name that waits already changes nothing."""

    def __init__(self) -> None:
        self._waiting: dict[Key, None] = {}
        self._filled = asyncio.Event()

    def add(self, key: Key) -> None:
        """Ask for that name to be reconciled."""
        self._waiting[key] = None
        self._filled.set()

    def add_later(self, key: Key, delay: float) -> None:
        """Ask for it in `delay` seconds."""
        asyncio.get_running_loop().call_later(delay, self.add, key)

    async def next(self) -> Key:
        """The name that has waited longest, which is then free to be asked for again."""
        await self._filled.wait()
        key = next(iter(self._waiting))
        del self._waiting[key]
        if not self._waiting:
            self._filled.clear()
        return key


async def serve_queue(name: str, queue: WorkQueue, reconcile: Callable[[Key], Awaitable[None]]) -> NoReturn:
    """Reconcile one name after the other; one that the API server refuses is tried again later.

    A conflict is the ordinary sign that the cache was behind: the retry sees the newer object.
    """
    delays: dict[Key, Backoff] = {}
    while True:
        key = await queue.next()
        try:
            await reconcile(key)
        except (ApiError, Unreachable, TimeoutError) as error:
            delay = delays.setdefault(key, Backoff(initial=0.01, cap=5.0)).next_delay()
            if not (isinstance(error, ApiError) and error.status == 409):
                log.warning("reconcile failed", controller=name, key="/".join(key), error=str(error))
            queue.add_later(key, delay)
        else:
            delays.pop(key, None)
