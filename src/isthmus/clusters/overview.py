"""How each cluster is, in words for operators: put together from those who know a part of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from isthmus.clusters.advice import advise
from isthmus.clusters.claims import Claims
from isthmus.clusters.expiry import expiry_of
from isthmus.clusters.healer import Healing
from isthmus.clusters.health import Health, State
from isthmus.clusters.last_known import LastKnown
from isthmus.clusters.members import Member
from isthmus.clusters.rating import Rating
from isthmus.clusters.recorder import Recorder
from isthmus.clusters.renewal import Renewal
from isthmus.clusters.renewing import renewable, warn_of_end
from isthmus.clusters.roster import Claim
from isthmus.clusters.status import ClusterStatus, describe, remark_on_doubles
from isthmus.clusters.view import JoinedView
from isthmus.clusters.vouching import certificates_end
from isthmus.kube.watch import Phase
from isthmus.model.service import ClusterId


@dataclass(frozen=True, slots=True)
class Overview:
    """Looks at all that it is given, whenever it is asked, and changes nothing.

    `wall` tells Unix seconds; `certificate_life` is a workload's certificate's, in seconds.
    """

    members: Mapping[ClusterId, Member]
    same: Mapping[ClusterId, ClusterId]
    claims: Claims
    view: JoinedView
    rating: Rating
    healing: Healing
    renewal: Renewal
    recorder: Recorder
    last_known: LastKnown
    wall: Callable[[], float]
    certificate_life: float

    def status(self) -> Sequence[ClusterStatus]:
        """Every cluster, and every key of a Secret that is refused; by name, the clusters first."""
        watched = [self._describe(name, member) for name, member in sorted(self.members.items())]
        watched = [each if each.secret else self._with_secrets(each) for each in watched]
        roster = self.claims.roster
        refused = [
            self._refused(claim, claim.refusal)
            for name, claim in sorted(roster.winners.items())
            if name not in self.members
        ]
        losers = (self._refused(loser.claim, loser.reason) for loser in roster.losers)
        return (*watched, *refused, *losers)

    def _describe(self, name: ClusterId, member: Member) -> ClusterStatus:
        ends = certificates_end(member, self.certificate_life)
        return describe(
            member.cluster,
            member.claim,
            member.health,
            restored=None if member.restored is None else member.restored.store,
            remarks=(
                member.refusal,
                *self.rating.flaws(member),
                remark_on_doubles(self.view.doubles(name)),
                *self.healing.remarks(name, member),
                self.renewal.remark(name) or self._end_of_credential(member),
                "" if ends is None else ends.describe(self.wall()),
            ),
            same_as=self.same.get(name),
            standing=self.rating.standing(member),
            drain=self.rating.drain(member),
            certificates_end=ends,
        )

    def _end_of_credential(self, member: Member) -> str:
        claim, access = member.claim, member.cluster.access
        if claim is None or access is None:
            return ""
        return warn_of_end(expiry_of(access), renewable(claim), self.wall())

    def _with_secrets(self, own: ClusterStatus) -> ClusterStatus:
        """The own cluster's status, and what is amiss with reading its cluster Secrets and writing there."""
        watch, remarks = self.claims.watch, list(own.remarks)
        refusals = (self.recorder.refusal, self.last_known.refusal, self.renewal.refusal)
        remarks += [refusal for refusal in refusals if refusal]
        if watch is None:
            return replace(own, remarks=tuple(remarks))
        if watch.phase is Phase.FAILED:
            remarks.insert(0, f"cluster Secrets in {self.claims.namespace} cannot be read: {watch.error}")
        return replace(own, remarks=tuple(remarks), rejected=(*own.rejected, *watch.rejected))

    def _refused(self, claim: Claim, reason: str) -> ClusterStatus:
        since = self.claims.refused[reason]
        secret = str(claim.secret)
        advice = advise(
            Health(State.REFUSED, since, reason), secret=secret, server="", expires=None, now=time.time()
        )
        return ClusterStatus(claim.cluster, State.REFUSED, since, reason, secret=secret, advice=advice)
