"""`python -m isthmus.lab.faults CLUSTER_DIR KIND [SECONDS]`: holds a fault until its time is over or SIGTERM.

It outlives the command that started it: a fault with an end comes to its end whatever becomes of that.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

import uvloop

from isthmus.lab.faults.kinds import Fault
from isthmus.lab.faults.making import suffering
from isthmus.lab.faults.record import Record, drop_record, write_record
from isthmus.lab.plan import ClusterPlan
from isthmus.lab.plan_file import read_plan
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import stop_signal
from isthmus.lib.log import configure_logging


async def keep(plan: ClusterPlan, fault: Fault, seconds: float | None) -> None:
    """Hold it; when this returns it is healed and off the record."""
    stop = stop_signal()
    now = time.time()
    record = Record(fault, now, None if seconds is None else now + seconds, os.getpid())
    write_record(plan, record)
    async with suffering(plan, fault):
        write_record(plan, Record(fault, record.since, record.until, record.keeper, in_force=True))
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            pass
    drop_record(plan, fault)


def main() -> int:
    """Exit code 1 with a sentence where the fault cannot be made; it is on record until it is healed then."""
    configure_logging()
    directory, kind, *seconds = sys.argv[1:]
    try:
        uvloop.run(keep(read_plan(Path(directory)), Fault(kind), float(seconds[0]) if seconds else None))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
