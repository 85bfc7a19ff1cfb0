"""What operators are told by Events on a cluster's Secret: pure, from the clusters' status.

An Event is for what calls for attention, or what an operator waits for; a cluster that is well has none.
"""

from collections.abc import Iterable
from typing import NamedTuple

from isthmus.clusters.health import State
from isthmus.clusters.status import ClusterStatus

_REASONS = {
    State.REFUSED: "ClusterRefused",
    State.UNAUTHORISED: "ClusterUnauthorised",
    State.UNREACHABLE: "ClusterUnreachable",
    State.STALE: "ClusterUnreachable",
}
_MOST = 1000
"""Characters of a message (core/v1 Event: at most 1,024 bytes)."""


class Complaint(NamedTuple):
    """One thing to say about one cluster of a Secret (`namespace/name`); `normal` is no trouble."""

    secret: str
    cluster: str
    reason: str
    message: str
    normal: bool = False

    @property
    def subject(self) -> tuple[str, str, str]:
        """What it is about, whatever its words."""
        return self.secret, self.cluster, self.reason


def complaints(clusters: Iterable[ClusterStatus], now: float) -> dict[tuple[str, str, str], Complaint]:
    """Everything that there is to say now (Unix seconds), by subject."""
    found = (each for one in clusters if one.secret for each in _of(one, now))
    return {each.subject: each for each in found}


def _of(one: ClusterStatus, now: float) -> Iterable[Complaint]:
    reason = "ClusterClash" if one.same_as is not None else _REASONS.get(one.state)
    if reason is not None:
        text = f"Cluster {one.name}: {one.reason}. {one.advice}".rstrip()
        yield Complaint(one.secret, one.name, reason, text[:_MOST])
    ends = one.certificates_end
    if ends is not None and ends.pressing_from <= now:
        text = f"Cluster {one.name}: {ends.describe(now)}."
        yield Complaint(one.secret, one.name, "CertificatesEnd", text)
    if one.rotations:
        text = f"Cluster {one.name}: a new credential is in force (number {one.rotations} since the start)."
        yield Complaint(one.secret, one.name, "CredentialRotated", text, normal=True)
