"""Until when a cluster's workloads have certificates while its API server vouches for nobody. Pure.

The CA asks a workload's own cluster whether its token is genuine, for each certificate anew (TokenReview).
What was answered before is no answer, and a certificate alone is not renewed: a stolen one would be good for
ever. So a cluster that stays away lets its workloads' certificates end, which is to be known long before.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from isthmus.clusters.members import Member
from isthmus.kube.errors import ApiError, Unreachable

_RENEWED_BY = 0.55
"""Share of its life by which a certificate is renewed where that can be done (Istio's half, and jitter)."""
_SHORT = 0.05
"""Share of a certificate's life for which its cluster may be away without more ado."""


@dataclass(frozen=True, slots=True)
class CertificatesEnd:
    """When the first and the last certificate end that a cluster's workloads can have, in Unix seconds.

    `first` is None where it is not known since when nobody is vouched for. From `pressing_from` on it is no
    short trouble.
    """

    first: float | None
    last: float
    pressing_from: float

    @property
    def begin(self) -> float:
        """From when on they may end."""
        return self.last if self.first is None else self.first

    def describe(self, now: float) -> str:
        """In words, for people, which stay the same until the first has ended. `now` is Unix seconds."""
        if self.last <= now:
            ending = "those that they had have ended, and mutual TLS with them fails"
        elif self.first is None:
            ending = f"the last that they have ends by {_time(self.last)}, the first before"
        elif self.first <= now:
            ending = f"those that they have end since {_time(self.first)}, the last by {_time(self.last)}"
        else:
            ending = f"those that they have end from {_time(self.first)} on, the last by {_time(self.last)}"
        return f"its API server vouches for nobody, so its workloads get no new certificates: {ending}"


def certificates_end(member: Member, life: float) -> CertificatesEnd | None:
    """When a cluster's certificates end if nothing changes; None where they are renewed, or there are none.

    `life` is a certificate's, in seconds.
    """
    health = member.cluster.health
    if member.store is None or not _vouches_for_nobody(health.error):
        return None
    last = health.since + life
    # A last-known state does not say when its cluster last vouched for anybody.
    first = None if member.restored else last - life * _RENEWED_BY
    return CertificatesEnd(first, last, health.since + life * _SHORT)


def _vouches_for_nobody(error: ApiError | Unreachable | None) -> bool:
    """Whether a TokenReview meets the same: there is no answer, none to us, or no use in it."""
    if isinstance(error, ApiError):
        return error.status == 401 or error.status >= 500
    return error is not None


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
