"""How a self-signed root gives way to the next one while traffic flows: a state machine without I/O or clock.

STEADY       one root, which signs.
INTRODUCING  the next root is trusted everywhere already, the old one still signs.
RETIRING     the next root signs; the old one is trusted until nothing that it signed can be valid.

Each step is taken only when the one before it has had the time to reach every workload, in every cluster.
States follow from what is stored, so that any replica takes the next step.
"""

from dataclasses import dataclass, field, replace
from enum import Enum


class Phase(Enum):
    """Where a rotation stands."""

    STEADY = "steady"
    INTRODUCING = "introducing"
    RETIRING = "retiring"


@dataclass(frozen=True, slots=True)
class Root:
    """A root certificate and its key, PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Roots:
    """The roots of a mesh.

    `since` (Unix seconds) is when the present phase began, None where nobody wrote that down.
    """

    signing: Root
    incoming: Root | None = None
    outgoing: tuple[bytes, ...] = ()
    since: float | None = None

    @property
    def phase(self) -> Phase:
        """Where its rotation stands."""
        if self.incoming is not None:
            return Phase.INTRODUCING
        return Phase.RETIRING if self.outgoing else Phase.STEADY

    @property
    def trusted(self) -> tuple[bytes, ...]:
        """Every root certificate that workloads must trust, the signing one first."""
        incoming = () if self.incoming is None else (self.incoming.certificate,)
        return (self.signing.certificate, *incoming, *self.outgoing)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Seconds that each phase lasts.

    `introduce` is what a new root may need to reach every workload's trust bundle. `retire` must be longer
    than the longest life of a certificate, plus what a replica may need to notice that another root signs.
    """

    introduce: float
    retire: float


class RotationUnderWay(Exception):  # noqa: N818 - a finding, not a failure
    """A rotation has begun and not ended; another one must wait for it."""


def begin(roots: Roots, new: Root, now: float) -> Roots:
    """Let `new` be trusted. Raises RotationUnderWay."""
    if roots.phase is not Phase.STEADY:
        raise RotationUnderWay
    return replace(roots, incoming=new, since=now)


def advance(roots: Roots, now: float, schedule: Schedule, *, lacking: bool = False) -> Roots:
    """Take the next step if it is due; the same object where it is not.

    While `lacking`, some cluster has not got the incoming root. Its introduction is then written down as
    beginning anew, ten times in its length, so that at least nine tenths of it follow the last cluster's.
    """
    due = next_step_at(roots, schedule)
    if due is None:
        return roots
    if roots.since is None:
        return replace(roots, since=now)
    if lacking and roots.phase is Phase.INTRODUCING:
        return replace(roots, since=now) if now - roots.since >= schedule.introduce / 10 else roots
    if now < due:
        return roots
    if roots.incoming is not None:
        outgoing = (roots.signing.certificate, *roots.outgoing)
        return Roots(signing=roots.incoming, outgoing=outgoing, since=now)
    return Roots(signing=roots.signing, since=now)


def next_step_at(roots: Roots, schedule: Schedule) -> float | None:
    """When the next step is due (Unix seconds; 0 for at once), None while no rotation is under way."""
    match roots.phase:
        case Phase.STEADY:
            return None
        case Phase.INTRODUCING:
            lasts = schedule.introduce
        case Phase.RETIRING:
            lasts = schedule.retire
    return 0.0 if roots.since is None else roots.since + lasts
