"""One thing that a preflight found."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """`skipped`: not looked at, and the finding says how to have it looked at."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """`id` is stable, for programs. `clusters` are whom it concerns, none for this machine.

    `why` says why it matters and `remedy` what to do; both are "" where all is well.
    """

    id: str
    level: Level
    what: str
    clusters: tuple[str, ...] = ()
    why: str = ""
    remedy: str = ""


def fine(id_: str, what: str, *clusters: str) -> Finding:
    """Something that is as it should be."""
    return Finding(id_, Level.OK, what, clusters)
