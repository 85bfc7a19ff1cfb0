"""Whose turn it is: those who are connected at once, those who connect a little at a time.

A thousand proxies that come back together are seconds of work. Done as it arrives, it makes a change wait for
those who were there before; so the work of newcomers is done by slices of a few milliseconds, in the order in
which it came, and between slices the loop does everything else. What a newcomer asked for is written to it in
the same slice. Nothing is refused: a slice grows with what was done for the others since the last, so
newcomers have a third of the time at least.

A few who come are served as they come. When they are many, a slice gathers what arrives for some
milliseconds: work that is done in a row finds its code and its data in the processor's caches, and costs less
than the same work one by one between sleeps.
"""

import time
from collections import deque
from collections.abc import Callable

from isthmus.xds.h2_call import Call

_SLICE = 0.002
_SHARE = 0.5
"""Of the time that others took since the last slice."""
_GATHERING = 0.005
"""Seconds from the end of a slice that left nothing to the next one."""
_SPARE = 0.02
"""Of all time, for newcomers who are served as they come."""


class Turns:
    """`soon` is the loop's `call_soon`, `after` its `call_later`; `clock` counts seconds."""

    def __init__(
        self,
        soon: Callable[[Callable[[], None]], object],
        after: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._soon = soon
        self._after = after
        self._clock = clock
        self._woken: list[Call] = []
        self._newcomers: deque[Callable[[], None]] = deque()
        self._asked: list[Call] = []
        """Newcomers' calls that are to be written to in this slice."""
        self._slicing = False
        self._scheduled = False
        self._since = 0.0
        """When newcomers had their last slice, or came to wait for one."""
        self._done = clock()
        """When something was done for them last."""
        self._emptied = self._done - _GATHERING
        """When a slice left nothing to do."""
        self._allowance = 0.0
        """Seconds for which newcomers may be served without a slice."""

    def pump(self, call: Call, newcomer: bool) -> None:
        """Have the call written to."""
        if newcomer:
            if self._slicing:
                self._asked.append(call)
            else:
                self.later(call.pump)
            return
        if not self._woken:
            self._soon(self._pump_woken)
        self._woken.append(call)

    def newcomer(self, work: Callable[[], None]) -> None:
        """Have a newcomer's work done, now or in a slice. Not to be called by what others are told by."""
        if self._newcomers or self._slicing:
            self.later(work)
            return
        began = self._clock()
        self._allowance = min(_SLICE, self._allowance + (began - self._done) * _SPARE)
        self._done = began
        if self._allowance <= 0:
            self.later(work)
            return
        try:
            self._do(work)
        finally:
            self._done = self._clock()
            self._allowance -= self._done - began

    def later(self, work: Callable[[], None]) -> None:
        """Have a newcomer's work done in a slice."""
        if not self._newcomers:
            self._since = self._clock()
        self._newcomers.append(work)
        self._schedule()

    def _pump_woken(self) -> None:
        woken, self._woken = self._woken, []
        for call in woken:
            call.pump()

    def _schedule(self) -> None:
        if self._newcomers and not self._scheduled:
            self._scheduled = True
            wait = self._emptied + _GATHERING - self._clock()
            if wait > 0:
                self._after(wait, self._slice)
            else:
                self._soon(self._slice)

    def _slice(self) -> None:
        self._scheduled = False
        clock, newcomers = self._clock, self._newcomers
        now = clock()
        ends = now + max(_SLICE, (now - self._since) * _SHARE)
        try:
            while newcomers and clock() < ends:
                self._do(newcomers.popleft())
        finally:
            self._since = self._done = clock()
            self._allowance = 0.0
            if not newcomers:
                self._emptied = self._done
            self._schedule()

    def _do(self, work: Callable[[], None]) -> None:
        """Work, and writing what it asked for."""
        asked = self._asked
        self._slicing = True
        try:
            work()
            while asked:
                asked.pop().pump()
        finally:
            self._slicing = False
            while asked:
                self.later(asked.pop().pump)
