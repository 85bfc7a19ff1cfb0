"""What an operator is told about each cluster, and about each key of a Secret that is none."""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from isthmus.clusters.advice import advise
from isthmus.clusters.cluster import Cluster
from isthmus.clusters.expiry import expiry_of
from isthmus.clusters.health import Health, State
from isthmus.clusters.join import Double
from isthmus.clusters.roster import Claim
from isthmus.clusters.standing import Standing
from isthmus.clusters.store import ClusterStore
from isthmus.clusters.vouching import CertificatesEnd
from isthmus.kube.decoding import Rejected
from isthmus.model.service import ClusterId, ServiceKey


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """One cluster, or one refused key of a Secret.

    `since` is Unix seconds; `reason` says in words why the state is what it is, "" where all is well.
    `secret` is `namespace/name`, "" for the control plane's own cluster. `served`: its endpoints are in the
    view. `remarks` are what does not make it worse yet but wants doing. The numbers count its objects.
    `changed_at` and `expires` (its credential's end) are Unix seconds, `latency` of the latest probe seconds,
    each None where not known. `certificates_end` is when workloads' certificates do if nothing changes, None
    while they can be renewed. `advice` is what to do, in one sentence, "" for nothing; `drain` says how far
    it is drained, "" where it is not to be.
    """

    name: ClusterId
    state: State
    since: float
    reason: str = ""
    secret: str = ""
    served: bool = False
    server: str = ""
    services: int = 0
    endpoint_slices: int = 0
    pods: int = 0
    nodes: int = 0
    remarks: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    changed_at: float | None = None
    expires: float | None = None
    version: str = ""
    latency: float | None = None
    last_error: str = ""
    advice: str = ""
    rotations: int = 0
    same_as: ClusterId | None = None
    standing: Standing = Standing.FULL
    drain: str = ""
    certificates_end: CertificatesEnd | None = None


def describe(
    cluster: Cluster,
    claim: Claim | None,
    health: Health,
    *,
    restored: ClusterStore | None,
    remarks: Iterable[str],
    same_as: ClusterId | None,
    standing: Standing,
    drain: str,
    certificates_end: CertificatesEnd | None,
) -> ClusterStatus:
    """A cluster that is watched, or `restored` from its last-known state while it does not answer.

    `same_as`: it is one that the mesh has already under that name.
    """
    if same_as is not None:
        reason = f"is the same cluster as {same_as}, by the UID of kube-system; remove one of the two names"
        health = Health(State.REFUSED, health.since, reason)
    session, access = cluster.session, cluster.access
    secret = "" if claim is None else str(claim.secret)
    server = "" if access is None else access.server
    expires = None if access is None else expiry_of(access)
    store = restored or (None if session is None else session.store)
    said = [remark for remark in (*remarks, cluster.rotation) if remark]
    return ClusterStatus(
        name=cluster.name,
        state=health.state,
        since=health.since,
        reason=health.reason,
        secret=secret,
        served=(restored is not None or cluster.complete) and same_as is None,
        server=server,
        services=0 if store is None else len(store.services),
        endpoint_slices=0 if store is None else len(store.slices),
        pods=0 if store is None else len(store.pods),
        nodes=0 if store is None else len(store.nodes),
        remarks=(*said, *(() if session is None else session.missing)),
        rejected=() if session is None else session.rejected,
        changed_at=None if session is None else session.changed_at,
        expires=expires,
        version="" if session is None else session.version,
        latency=None if session is None else session.latency,
        last_error=cluster.last_error,
        advice=advise(health, secret=secret, server=server, expires=expires, now=time.time()),
        rotations=cluster.rotations,
        same_as=same_as,
        standing=standing,
        drain=drain,
        certificates_end=certificates_end,
    )


def remark_on_doubles(doubles: Mapping[ServiceKey, Collection[Double]]) -> str:
    """Addresses of a cluster that are another's too, in words: the first, and how many more; "" for none."""
    if not doubles:
        return ""
    key, some = min(doubles.items(), key=lambda item: item[0])
    first = min(some, key=lambda double: double.address)
    more = sum(map(len, doubles.values())) - 1
    also = f"; so it is for {more} more" if more else ""
    return (
        f"{first.address} of {key.hostname()} is served from {first.served}, which claims it on the same "
        f"network{also}; give one cluster other pod addresses, or a network of its own"
    )
