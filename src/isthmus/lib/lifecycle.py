"""Structured lifecycles: tasks that end with the block that started them.

A component is an `@asynccontextmanager` that enters `task_scope()`, starts its work there, yields a ready
handle, and is unwound when its block ends. There is no other way to start a task.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class EternalTaskReturnedError(RuntimeError):
    """A task that must run for as long as its component returned: a bug, never a way to stop."""


class TaskScope:
    """The tasks of one component; made by `task_scope` only."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> "asyncio.Task[T]":
        """Start work that may end by itself; an error in it ends the whole component."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def serve(self, work: Coroutine[Any, Any, Any], *, name: str) -> "asyncio.Task[None]":
        """Start work that never ends by itself: should it return, the component fails."""
        task = self.spawn(_eternal(work, name), name=name)
        # Cancelled before its first step, the task never came to await the work.
        task.add_done_callback(lambda _: work.close())
        return task

    def cancel(self) -> None:
        """Ask every task of this scope to end."""
        for task in tuple(self._tasks):
            task.cancel()


async def _eternal(work: Coroutine[Any, Any, Any], name: str) -> None:
    await work
    raise EternalTaskReturnedError(f"task {name} returned")


@asynccontextmanager
async def task_scope() -> AsyncGenerator[TaskScope]:
    """Tasks that are cancelled and awaited when the block ends, however it ends.

    A single error is raised as itself, not as a group of one, so that callers can name what they catch.
    """
    try:
        async with asyncio.TaskGroup() as group:
            scope = TaskScope(group)
            try:
                yield scope
            finally:
                scope.cancel()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from None
        raise


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets from now on: the way a process is asked to end."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
