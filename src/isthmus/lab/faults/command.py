"""`isthmus lab fault` and `isthmus lab heal`: start and end the keepers of faults."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta

from isthmus.lab.assets import VARIABLE, find_assets
from isthmus.lab.faults.kinds import Fault, clashing
from isthmus.lab.faults.making import undo
from isthmus.lab.faults.record import Record, drop_record, read_records
from isthmus.lab.network import inside
from isthmus.lab.plan import ClusterPlan
from isthmus.lab.up import only_one
from isthmus.lib.errors import UserError

_LOOK_EVERY = 0.02
_BEGUN_WITHIN, _HEALED_WITHIN = 60.0, 60.0
_LAST_LINES = 4


def fault_named(name: str) -> Fault:
    """UserError (wrong usage) that names all faults where there is none of that name."""
    try:
        return Fault(name)
    except ValueError:
        known = "\n".join(f"  {each.value:<12} {each.effect}" for each in Fault)
        raise UserError(f"There is no fault {name!r}. These there are:\n{known}", exit_code=2) from None


def inject(plan: ClusterPlan, fault: Fault, lasting: timedelta | None) -> None:
    """Break a cluster, for a while or until it is healed; returns when the fault is in force.

    UserError where the cluster has a fault already that this one cannot be told from.
    """
    if lasting is not None and lasting <= timedelta(0):
        raise UserError("--for must be longer than nothing, such as 30s.", exit_code=2)
    if fault is Fault.CLOCK_SKEW and find_assets() is not None:
        raise UserError(f"{fault.value} needs the lab's own API server; run the lab without {VARIABLE}.")
    with only_one():
        for record in read_records(plan):
            if clashing(fault, record.kind):
                raise UserError(
                    f"Cluster {plan.name} suffers {record.describe(plan)} already; "
                    f"run `isthmus lab heal {plan.name}` before {fault.value}."
                )
        log_file = plan.directory / "logs" / f"fault-{fault.value}.log"
        command = [sys.executable, "-m", "isthmus.lab.faults", str(plan.directory), fault.value]
        if lasting is not None:
            command.append(str(lasting.total_seconds()))
        with log_file.open("ab") as log:
            keeper = subprocess.Popen(
                inside(plan.netns, command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        _wait_until_in_force(plan, fault, keeper, _BEGUN_WITHIN)
        keeper.returncode = 0  # it outlives us on purpose: nobody here will wait for it


def _wait_until_in_force(
    plan: ClusterPlan, fault: Fault, keeper: "subprocess.Popen[bytes]", timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while not any(each.in_force for each in read_records(plan) if each.kind is fault):
        code = keeper.poll()
        if code == 0:
            return  # its time was over before we looked
        if code is not None or time.monotonic() > deadline:
            said = (plan.directory / "logs" / f"fault-{fault.value}.log").read_text(errors="replace")
            words = "".join(f"\n  {line}" for line in said.splitlines()[-_LAST_LINES:])
            raise UserError(
                f"{fault.value} could not be brought about in {plan.name}; `isthmus lab heal {plan.name}`"
                f" takes away what there may be of it.{words}"
            )
        time.sleep(_LOOK_EVERY)


def heal(plan: ClusterPlan, say: Callable[[str], None]) -> None:
    """End every fault of a cluster; returns when they are healed. None is no error."""
    with only_one():
        records = read_records(plan)
        for record in records:
            _heal_one(plan, record)
            say(f"Cluster {plan.name} is healed of {record.kind.value}.")
        if not records:
            say(f"Cluster {plan.name} suffers no fault.")


def _heal_one(plan: ClusterPlan, record: Record) -> None:
    """Ask its keeper to heal it; do it ourselves where that is gone."""
    deadline = time.monotonic() + _HEALED_WITHIN
    if record.is_held(plan):
        os.kill(record.keeper, signal.SIGTERM)
        while record.is_held(plan) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY)
    if record.is_held(plan):
        os.kill(record.keeper, signal.SIGKILL)
    if record.kind in (each.kind for each in read_records(plan)):
        asyncio.run(undo(plan, record.kind))
        drop_record(plan, record.kind)
