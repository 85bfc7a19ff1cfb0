"""What a cluster's endpoints are worth while it is not heard of: pure, told the time by the caller.

Absences are counted with hysteresis. One ends only when the cluster has been fresh for a while on end; until
then it counts on through each short return, and what it has cost is not given back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import msgspec

from isthmus.clusters.draining import WHOLE
from isthmus.config.durations import parse_duration
from isthmus.config.mesh import StaleEndpoints, StalePolicy

POLICY_ANNOTATION = "isthmus.dev/stale-endpoints"
AFTER_ANNOTATION = "isthmus.dev/stale-after"


class Standing(Enum):
    """Whether a cluster's endpoints serve as any others, serve after others, or do not serve."""

    FULL = "full"
    SECOND = "second"
    NONE = "none"


class Worth(NamedTuple):
    """What a cluster's endpoints are worth: their standing, and their share of the traffic in tenths.

    Who has no share left serves after all others.
    """

    standing: Standing = Standing.FULL
    share: int = WHOLE


_DEMOTED = {
    StalePolicy.KEEP: Standing.FULL,
    StalePolicy.DEPRIORITISE: Standing.SECOND,
    StalePolicy.EXPIRE: Standing.NONE,
}


@dataclass(frozen=True, slots=True)
class Absence:
    """Since when a cluster is not known to be current, None where it is; all times in seconds of one clock.

    `back_at`: since when it is fresh again, while that may still be another short return.
    """

    lost_at: float | None = None
    back_at: float | None = None

    def lost(self, since: float, now: float, worth: StaleEndpoints) -> "Absence":
        """It is not current, and was not since `since`."""
        if self.lost_at is None or self._is_over(now, worth):
            return Absence(since)
        return replace(self, back_at=None)

    def back(self, now: float) -> "Absence":
        """It is fresh."""
        return self if self.lost_at is None or self.back_at is not None else replace(self, back_at=now)

    def standing(self, now: float, worth: StaleEndpoints) -> Standing:
        """What its endpoints are worth now."""
        if self.lost_at is None or self._is_over(now, worth):
            return Standing.FULL
        lasted = (now if self.back_at is None else self.back_at) - self.lost_at
        return _DEMOTED[worth.policy] if lasted >= worth.after.total_seconds() else Standing.FULL

    def due(self, now: float, worth: StaleEndpoints) -> float | None:
        """When the standing changes next if nothing happens; None for never."""
        if self.lost_at is None or worth.policy is StalePolicy.KEEP:
            return None
        if self.back_at is not None:
            at = self.back_at + worth.recovery.total_seconds()
        else:
            at = self.lost_at + worth.after.total_seconds()
        return at if at > now else None

    def _is_over(self, now: float, worth: StaleEndpoints) -> bool:
        return self.back_at is not None and now >= self.back_at + worth.recovery.total_seconds()


def read_worth(annotations: Mapping[str, str], otherwise: StaleEndpoints) -> tuple[StaleEndpoints, str]:
    """What a cluster Secret's annotations say, and `otherwise` where they say nothing.

    The second is what is wrong with them, "" for nothing; what is wrong has no effect.
    """
    worth, flaws = otherwise, list[str]()
    policy, after = annotations.get(POLICY_ANNOTATION), annotations.get(AFTER_ANNOTATION)
    if policy is not None:
        try:
            worth = msgspec.structs.replace(worth, policy=StalePolicy(policy))
        except ValueError:
            flaws.append(f"{POLICY_ANNOTATION} is {policy[:40]!r}, not keep, deprioritise or expire")
    if after is not None:
        try:
            worth = msgspec.structs.replace(worth, after=parse_duration(after))
        except ValueError as error:
            flaws.append(f"{AFTER_ANNOTATION}: {str(error)[:100]}")
    return worth, "; ".join(flaws) and f"annotation without effect: {'; '.join(flaws)}"
