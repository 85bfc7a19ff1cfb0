"""Newcomers' work, by slices of a clock that each piece of work moves on."""

from collections.abc import Callable
from typing import cast

import pytest

from isthmus.xds.grpc_turns import Turns
from isthmus.xds.h2_call import Call


class Loop:
    """Runs what is due turn by turn, as an event loop does; with nothing due it sleeps until something is."""

    def __init__(self) -> None:
        self.time = 0.0
        self.done: list[str] = []
        self._due: list[Callable[[], None]] = []
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self.turns = Turns(self._due.append, self._after, lambda: self.time)

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        self._timers.append((self.time + seconds, do))

    def work(self, name: str, cost: float) -> Callable[[], None]:
        def do() -> None:
            self.time += cost
            self.done.append(name)

        return do

    def turn(self) -> list[str]:
        if not self._due and self._timers:
            when, do = self._timers.pop(0)
            self.time = max(self.time, when)
            self._due.append(do)
        due, self._due[:] = list(self._due), []
        for one in due:
            one()
        done, self.done = self.done, []
        return done


def test_newcomers_wait_for_each_other_and_for_nobody_else() -> None:
    loop = Loop()
    for number in range(5):
        loop.turns.later(loop.work(str(number), 0.001))
    assert [loop.turn() for _ in range(4)] == [["0", "1"], ["2", "3"], ["4"], []]


class Woken:
    """Stands for a call: being written to is work too."""

    def __init__(self, pump: Callable[[], None]) -> None:
        self.pump = pump


def test_what_a_newcomer_asked_for_is_written_in_its_slice_and_in_turn_otherwise() -> None:
    loop = Loop()
    one, other = (cast("Call", Woken(loop.work(f"write {name}", 0.001))) for name in "ab")

    def ask() -> None:
        loop.work("ask", 0.001)()
        loop.turns.pump(one, True)

    loop.turns.later(ask)
    loop.turns.later(loop.work("next", 0.001))
    assert [loop.turn(), loop.turn()] == [["ask", "write a"], ["next"]]
    loop.time += 1.0
    loop.turns.later(loop.work("earlier", 0.002))
    loop.turns.pump(other, True)
    loop.turns.pump(one, False)
    assert [loop.turn(), loop.turn()] == [["earlier", "write a"], ["write b"]]


def test_a_few_who_come_are_served_at_once_and_many_together() -> None:
    loop = Loop()
    loop.time += 0.15
    for name in "abc":  # What is spared is a slice, 2 ms.
        loop.turns.newcomer(loop.work(name, 0.001))
    assert loop.done == ["a", "b"]
    assert loop.turn() == ["a", "b", "c"]
    emptied = loop.time
    loop.turns.newcomer(loop.work("d", 0.0))
    loop.time += 0.002
    loop.turns.newcomer(loop.work("e", 0.0))
    assert (loop.turn(), loop.time) == (["d", "e"], pytest.approx(emptied + 0.005))
    loop.time += 60.0
    for name in "fghi":
        loop.turns.newcomer(loop.work(name, 0.0011))
    assert loop.done == ["f", "g"], "what is spared is a slice at most"


def test_a_slice_that_leaves_something_is_followed_by_the_next_at_once() -> None:
    loop = Loop()
    for number in range(4):
        loop.turns.later(loop.work(str(number), 0.001))
    assert [loop.turn(), loop.turn()] == [["0", "1"], ["2", "3"]]
    assert loop.time == pytest.approx(0.004)


def test_newcomers_have_a_share_however_much_others_do() -> None:
    loop = Loop()
    for number in range(10):
        loop.turns.later(loop.work(str(number), 0.001))
    loop.turn()
    loop.time += 0.010
    assert loop.turn() == ["2", "3", "4", "5", "6"]


def test_one_piece_of_work_is_done_a_turn_however_long_it_takes() -> None:
    loop = Loop()
    for name in "ab":
        loop.turns.later(loop.work(name, 1.0))
    assert [loop.turn(), loop.turn()] == [["a"], ["b"]]


def test_work_that_makes_more_work_does_not_keep_its_turn() -> None:
    loop = Loop()

    def again() -> None:
        loop.time += 0.001
        loop.turns.later(again)

    loop.turns.later(again)
    loop.turn()
    assert loop.time == pytest.approx(0.002)


def test_a_fault_in_one_piece_of_work_is_not_the_end_of_the_others() -> None:
    loop = Loop()

    asked = cast("Call", Woken(loop.work("write", 0.0)))

    def fail() -> None:
        loop.turns.pump(asked, True)
        raise RuntimeError("a fault")

    loop.turns.later(fail)
    loop.turns.later(loop.work("next", 0.0))
    with pytest.raises(RuntimeError, match="a fault"):
        loop.turn()
    assert sorted(loop.turn()) == ["next", "write"]
