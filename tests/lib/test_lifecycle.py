import asyncio
import inspect

import pytest

from isthmus.lib.backoff import Backoff
from isthmus.lib.lifecycle import EternalTaskReturnedError, task_scope
from tests.support.virtual_time import run_in_virtual_time


async def test_tasks_end_with_their_block() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with task_scope() as scope:
        scope.serve(work(), name="work")
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_an_eternal_task_that_returns_fails_its_component() -> None:
    async def work() -> None:
        return

    with pytest.raises(EternalTaskReturnedError, match="watcher"):
        async with task_scope() as scope:
            scope.serve(work(), name="watcher")
            await asyncio.sleep(3600)


async def test_work_that_never_came_to_start_is_closed() -> None:
    async def work() -> None:
        await asyncio.sleep(3600)

    unstarted = work()
    async with task_scope() as scope:
        scope.serve(unstarted, name="work")
    assert inspect.getcoroutinestate(unstarted) == inspect.CORO_CLOSED


async def test_an_error_in_a_task_is_raised_as_itself() -> None:
    async def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        async with task_scope() as scope:
            scope.spawn(work(), name="work")
            await asyncio.sleep(3600)


def test_virtual_time_passes_without_waiting() -> None:
    async def day() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(day()) == pytest.approx(86_400)


def test_backoff_grows_to_its_cap_and_resets() -> None:
    backoff = Backoff(initial=1, cap=8)
    delays = [backoff.next_delay() for _ in range(10)]
    assert all(ceiling / 2 <= d <= ceiling for d, ceiling in zip(delays, [1, 2, 4] + [8] * 7, strict=True))
    backoff.reset()
    assert backoff.next_delay() <= 1
