"""Which Secret decides what each cluster's name means: pure, and the same answer in every replica.

Each data key of a Secret claims its name for its kubeconfig. Should several claim one, the oldest Secret
wins, whether or not its kubeconfig is any good; the control plane's own cluster is older than all.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from isthmus.clusters.annotations import IDENTITY
from isthmus.kube.access import Access
from isthmus.kube.decoding import Ref
from isthmus.kube.errors import KubeconfigRefused
from isthmus.kube.objects import Secret
from isthmus.kube.secret_kubeconfig import access_from_secret
from isthmus.model.service import ClusterId

MULTI_CLUSTER_LABEL = "istio/multiCluster=true"


class Rank(NamedTuple):
    """Who comes first in a clash: the least. `created` is RFC 3339, "" for the own cluster."""

    created: str
    secret: Ref
    name: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One data key of one Secret. `access` is None where it was refused, and then `refusal` says all."""

    cluster: ClusterId
    rank: Rank
    access: Access | None
    refusal: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    """The Secret's."""
    alone: bool = True
    """Whether the Secret holds no other cluster."""
    digest: bytes = field(default=b"", repr=False)
    """Of the kubeconfig's text: what is the same need not be read anew."""
    secret_uid: str = ""
    """The Secret's, which tells one that was made anew from one that was changed."""

    @property
    def meant(self) -> str:
        """Which cluster it must lead to, by the UID of `kube-system`; "" where the Secret does not say."""
        return self.annotations.get(IDENTITY, "") if self.alone else ""

    @property
    def secret(self) -> Ref:
        """The Secret."""
        return self.rank.secret


def read_claims(secret: Secret, known: Iterable[Claim] = ()) -> tuple[Claim, ...]:
    """The claims of a Secret, one for each key; a bad one does not take down the others.

    `known` are those of the same Secret as it was: only kubeconfigs that changed are read.
    """
    ref = Ref(secret.metadata.namespace, secret.metadata.name)
    told, alone, uid = secret.metadata.annotations, len(secret.data) == 1, secret.metadata.uid
    before = {claim.cluster: claim for claim in known}
    claims: list[Claim] = []
    for key, text in sorted(secret.data.items()):
        name, digest = ClusterId(key), hashlib.sha256(text).digest()
        rank = Rank(secret.metadata.creation_timestamp or "~", ref, key)
        same = before.get(name)
        if same is not None and same.digest == digest:
            claims.append(replace(same, rank=rank, annotations=told, alone=alone, secret_uid=uid))
            continue
        try:
            claims.append(Claim(name, rank, access_from_secret(text), "", told, alone, digest, uid))
        except KubeconfigRefused as error:
            field = f", field {error.field}" if error.field else ""
            refusal = f"Secret {ref}, key {key}{field}: {error.reason}; {error.remedy}"
            claims.append(Claim(name, rank, None, refusal, told, alone, digest, uid))
    return tuple(claims)


@dataclass(frozen=True, slots=True)
class Loser:
    """A claim that is not in force because of another; `reason` names both and the way out."""

    claim: Claim
    reason: str


@dataclass(frozen=True, slots=True)
class Roster:
    """Who speaks for each name, and who would like to."""

    winners: Mapping[ClusterId, Claim]
    losers: tuple[Loser, ...]


def decide(claims: Iterable[Claim], own: ClusterId) -> Roster:
    """Settle all claims. The name `own` is the control plane's own cluster's and never a Secret's."""
    winners: dict[ClusterId, Claim] = {}
    losers: list[Loser] = []
    for claim in sorted(claims, key=lambda claim: claim.rank):
        winner = winners.setdefault(claim.cluster, claim)
        if claim.cluster == own:
            why = "which is the name of the control plane's own cluster"
        elif winner is not claim:
            why = f"which the older Secret {winner.secret} names already"
        else:
            continue
        losers.append(
            Loser(claim, f"Secret {claim.secret} names a cluster {claim.cluster}, {why}; rename its key")
        )
    winners.pop(own, None)
    return Roster(winners, tuple(losers))


def same_clusters(
    identities: Mapping[ClusterId, str], ranks: Mapping[ClusterId, Rank]
) -> dict[ClusterId, ClusterId]:
    """Names that stand for a cluster which another name of lesser rank stands for: loser → winner.

    An identity is the UID of the namespace `kube-system`; "" is not known, and like no other.
    """
    winners: dict[str, ClusterId] = {}
    losers: dict[ClusterId, ClusterId] = {}
    for cluster in sorted(identities, key=lambda cluster: ranks[cluster]):
        identity = identities[cluster]
        if identity and winners.setdefault(identity, cluster) != cluster:
            losers[cluster] = winners[identity]
    return losers
