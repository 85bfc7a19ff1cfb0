"""The rules by which replicas agree on a leader through a Lease, those of client-go's `leaderelection`. Pure.

No two machines' clocks are ever compared: the times in a Lease are for people. A holder counts for as long as
the Lease was seen to change within its duration, by the clock of who looks.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from isthmus.kube.objects import Lease


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds, by default Kubernetes' own: how long a renewal is good for, how long a leader that cannot
    renew goes on leading, and the pause between two attempts. Others wait out `duration`, which is longer
    than `deadline`, so that who led has stopped by then.
    """

    duration: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A Lease, None where there is none, and since when it looks like that (the looker's clock, seconds)."""

    lease: Lease | None
    since: float

    def again(self, lease: Lease | None, now: float) -> "Seen":
        """What is known after another look: only a Lease that changed begins to count anew."""
        same = lease is not None and self.lease is not None and lease.spec == self.lease.spec
        return Seen(lease, self.since if same else now)


@dataclass(frozen=True, slots=True)
class Make:
    """There is no Lease: create this one (a creation that clashes loses)."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Write:
    """It is ours, or free: patch it so, if it is still at the version that was seen."""

    patch: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """Another holds it; it is free at `until` unless it changes before (the looker's clock, seconds)."""

    holder: str
    until: float


Move: TypeAlias = Make | Write | Held


def decide(seen: Seen, identity: str, name: str, *, terms: Terms, now: float, wall: float) -> Move:
    """What to do to lead as `identity`, or to go on leading. `wall` is Unix seconds, for people alone."""
    time, seconds = _micro_time(wall), max(1, round(terms.duration))
    mine = {"holderIdentity": identity, "leaseDurationSeconds": seconds, "renewTime": time}
    if seen.lease is None:
        spec = mine | {"acquireTime": time, "leaseTransitions": 0}
        return Make(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name},
                "spec": spec,
            }
        )
    before = seen.lease.spec
    until = seen.since + before.lease_duration_seconds
    if before.holder_identity not in ("", identity) and now < until:
        return Held(before.holder_identity, until)
    if before.holder_identity != identity:
        mine |= {"acquireTime": time, "leaseTransitions": before.lease_transitions + 1}
    return Write(_patch(seen.lease, mine))


def release(lease: Lease, wall: float) -> dict[str, Any]:
    """The patch by which a leader that stops lets the next one lead at once."""
    time = _micro_time(wall)
    spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": time, "acquireTime": time}
    return _patch(lease, spec)


def is_held_by(lease: Lease | None, identity: str) -> bool:
    """Whether that Lease names this holder."""
    return lease is not None and lease.spec.holder_identity == identity


def _patch(lease: Lease, spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}


def _micro_time(wall: float) -> str:
    """Kubernetes' MicroTime: RFC 3339 with six decimals, in UTC."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
