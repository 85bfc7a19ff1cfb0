"""Turns of the event loop."""

import asyncio

from isthmus.lib.turns import Turns


async def test_one_goes_on_in_each_turn_in_the_order_of_coming_and_who_has_gone_takes_none() -> None:
    turns, order, turn = Turns(), list[tuple[int, str]](), 0

    async def work(name: str) -> None:
        await turns.next()
        order.append((turn, name))

    tasks = [asyncio.ensure_future(work(name)) for name in "abcd"]
    await asyncio.sleep(0)
    assert order == [(0, "a")], "the first does not wait"
    tasks[2].cancel()
    while not all(task.done() for task in tasks):
        turn += 1
        await asyncio.sleep(0)
    assert [name for _, name in order] == ["a", "b", "d"]
    assert len({at for at, _ in order}) == 3
