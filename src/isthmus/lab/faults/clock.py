"""`python -m isthmus.lab.faults.clock SECONDS MODULE [ARGUMENT…]`: runs a module in a process whose clock is
wrong, as Python tells the time. What OpenSSL and the kernel think of the time stays as it is.

The module is the program of a lab process, which knows nothing of it: its machine's clock is wrong, too.
"""

import datetime
import runpy
import sys
import time

_true_time, _true_datetime = time.time, datetime.datetime


def _shift(seconds: float) -> None:

    class Datetime(_true_datetime):
        """The same, at another time."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Datetime":
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: _true_time() + seconds
    time.time_ns = lambda: int(time.time() * 1e9)
    datetime.datetime = Datetime  # pyright: ignore[reportAttributeAccessIssue]


if __name__ == "__main__":
    _shift(float(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
