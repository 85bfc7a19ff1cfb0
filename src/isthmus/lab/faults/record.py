"""What is broken in a cluster, as files that anybody can read: `CLUSTER_DIR/run/faults/KIND.json`."""

import os
import time
from pathlib import Path

import msgspec

from isthmus.lab.faults.kinds import Fault
from isthmus.lab.plan import ClusterPlan


class Record(msgspec.Struct, frozen=True):
    """A fault of a cluster: when it began, when it ends by itself (Unix seconds; None: never), who holds it.

    `keeper` is the id of the process that heals it. Before `in_force` it is on its way.
    """

    kind: Fault
    since: float
    until: float | None
    keeper: int
    in_force: bool = False

    def is_held(self, plan: ClusterPlan) -> bool:
        """Whether its keeper lives."""
        try:
            words = Path(f"/proc/{self.keeper}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return str(plan.directory).encode() in words and self.kind.value.encode() in words

    def describe(self, plan: ClusterPlan) -> str:
        """In words, for people."""
        if not self.is_held(plan):
            end = "whose keeper was killed"
        elif self.until is None:
            end = "until it is healed"
        else:
            end = f"for {max(0.0, self.until - time.time()):.0f} s more"
        return f"{self.kind.value} {end}"


def _folder(plan: ClusterPlan) -> Path:
    return plan.directory / "run" / "faults"


def write_record(plan: ClusterPlan, record: Record) -> None:
    """Put a fault on record, in place of what was there of its kind."""
    _folder(plan).mkdir(parents=True, exist_ok=True)
    unfinished = _folder(plan) / f".{record.kind.value}.{os.getpid()}"
    unfinished.write_bytes(msgspec.json.encode(record))
    unfinished.replace(_folder(plan) / f"{record.kind.value}.json")


def drop_record(plan: ClusterPlan, kind: Fault) -> None:
    """Take a fault off the record; none is no error."""
    (_folder(plan) / f"{kind.value}.json").unlink(missing_ok=True)


def read_records(plan: ClusterPlan) -> list[Record]:
    """The faults of a cluster, by name."""
    found: list[Record] = []
    for path in sorted(_folder(plan).glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Record))
        except FileNotFoundError:
            continue
    return found
