"""All clusters of the mesh: the control plane's own, and one for each key of the labelled Secrets beside it.

Secrets are followed as they come, change and go, before and after start. No cluster makes another wait.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NoReturn

import structlog

from isthmus.clusters.advice import advise
from isthmus.clusters.api import Api, Connect, connected
from isthmus.clusters.cluster import Cluster
from isthmus.clusters.complaints import complaints
from isthmus.clusters.expiry import expiry_of
from isthmus.clusters.healer import Healing
from isthmus.clusters.health import Health, State, observe
from isthmus.clusters.intake import Intake
from isthmus.clusters.last_known import LastKnown
from isthmus.clusters.members import Clients, Member
from isthmus.clusters.rating import Rating
from isthmus.clusters.recorder import Recorder
from isthmus.clusters.renewal import Renewal
from isthmus.clusters.renewing import renewable, warn_of_end
from isthmus.clusters.restoring import lost, restore_lost, worth_keeping
from isthmus.clusters.roster import (
    MULTI_CLUSTER_LABEL,
    Claim,
    Rank,
    Roster,
    decide,
    read_claims,
    same_clusters,
)
from isthmus.clusters.session import Session
from isthmus.clusters.status import ClusterStatus, describe, remark_on_doubles
from isthmus.clusters.view import JoinedView
from isthmus.config.mesh import StaleEndpoints
from isthmus.kube.access import Access
from isthmus.kube.decoding import Ref
from isthmus.kube.kinds import SECRET
from isthmus.kube.objects import Secret
from isthmus.kube.watch import Event, Phase, Removed, Synced, Upserted, WatchState
from isthmus.lib.lifecycle import TaskScope, task_scope
from isthmus.model.service import ClusterId, Network

_log = structlog.stdlib.get_logger(__name__)
_KEEP = StaleEndpoints()
_PATIENCE = 5.0
"""Seconds for which a remote that says nothing may keep the control plane from being ready."""


class Clusters:
    """The mesh's clusters and the view over them; made by `running_clusters` only."""

    def __init__(
        self,
        scope: TaskScope,
        local: Access,
        *,
        cluster_id: ClusterId,
        namespace: str,
        networks: Mapping[ClusterId, Network],
        stale: StaleEndpoints,
        heal: bool,
        connect: Connect,
        wall: Callable[[], float],
    ) -> None:
        self.view = JoinedView(networks)
        self._scope = scope
        self._connect = connect
        self._wall = wall
        self._own = cluster_id
        self._namespace = namespace
        self._members: dict[ClusterId, Member] = {}
        self._same: dict[ClusterId, ClusterId] = {}
        self._claims: dict[Ref, tuple[Claim, ...]] = {}
        self._roster = Roster({}, ())
        self._listed = False
        self._secrets_watch: WatchState | None = None
        self._refusals: dict[str, float] = {}
        self._own_complete = asyncio.Event()
        self._secrets_answered = asyncio.Event()
        self._is_settled = False
        self._last_known = LastKnown(
            namespace,
            look=lambda: worth_keeping(self._members),
            known=lambda: set(self._members),
            lost=lambda: lost(self._members) if self._is_settled else (),
            found=self._restore,
        )
        self._rating = Rating(self._members, stale, self.view.rate, wall)
        self.clients: Mapping[ClusterId, Api] = Clients(self._members, self._same)
        """The API servers of all clusters that are watched, the own among them; it follows rotations."""
        self._healing = Healing(cluster_id, namespace, self._members, self.clients, enabled=heal)
        self._renewal = Renewal(namespace, self._members, self.clients, connect, wall)
        self._recorder = Recorder(namespace, lambda: complaints(self.status()))
        self._add(cluster_id, Rank("", Ref("", ""), cluster_id), None, local)

    # The clusters, by the Secrets

    async def serve(self, local: Access) -> NoReturn:
        """Follow the cluster Secrets of the control plane's namespace, and write beside them."""
        async with self._connect(local) as api, task_scope() as scope:
            scope.serve(self._rating.serve(), name="standings of clusters")
            scope.serve(self._recorder.serve(api), name="events")
            scope.serve(self._serve_healing(), name="healing of addresses")
            scope.serve(self._renewal.serve(api), name="renewal of tokens")
            scope.serve(self._last_known.serve(api), name="last-known states")
            await api.watch(
                SECRET,
                self._secret,
                report=self._secrets_reported,
                namespace=self._namespace,
                label_selector=MULTI_CLUSTER_LABEL,
            )

    async def _serve_healing(self) -> NoReturn:
        with self.view.subscribe(self._healing.changed):
            await self._healing.serve()

    def _secrets_reported(self, watch: WatchState) -> None:
        self._secrets_watch = observe(self._secrets_watch, watch)
        if watch.phase is not Phase.LISTING:
            self._secrets_answered.set()

    def _secret(self, event: Event[Secret]) -> None:
        match event:
            case Upserted(secret):
                ref = _ref(secret)
                self._claims[ref] = read_claims(secret, self._claims.get(ref, ()))
            case Removed(secret):
                self._claims.pop(_ref(secret), None)
            case Synced():
                self._listed = True
        # Half a list would let a younger Secret win for a moment.
        if self._listed:
            self._settle_claims()

    def _settle_claims(self) -> None:
        self._roster = decide((claim for claims in self._claims.values() for claim in claims), self._own)
        for name, member in tuple(self._members.items()):
            if member.claim is not None and self._is_over(member.claim, self._roster.winners.get(name)):
                self._remove(name)
        for name, claim in self._roster.winners.items():
            self._take(name, claim)
        self._arrange()
        self._report_refusals()

    def _is_over(self, old: Claim, new: Claim | None) -> bool:
        """Whether the cluster of the old claim is gone, rather than to be reached in another way."""
        if new is None:
            return True
        if new.secret == old.secret or old.access is None:
            return False
        return new.access is None or new.access.server != old.access.server

    def _take(self, name: ClusterId, claim: Claim) -> None:
        """Let this claim decide what the name stands for."""
        member = self._members.get(name)
        if claim.access is None:
            if member is not None:
                member.refusal = f"{claim.refusal}; the credential before it stays in use"
        elif member is None:
            self._add(name, claim.rank, claim, claim.access)
        else:
            member.claim, member.rank, member.refusal = claim, claim.rank, ""
            member.cluster.offer(claim.access, claim.meant)
        self._rating.stir()
        self._healing.wake()
        self._renewal.wake()

    def _add(self, name: ClusterId, rank: Rank, claim: Claim | None, access: Access) -> None:
        cluster = Cluster(
            name,
            self._scope,
            connect=self._connect,
            intake=lambda: Intake(
                self.view.new_store(name), control_namespace=self._namespace, changed=self.view.changed
            ),
            completed=lambda session: self._completed(name, session),
            moved=self._moved,
        )
        self._members[name] = Member(cluster, rank, claim)
        cluster.offer(access, "" if claim is None else claim.meant)

    def _remove(self, name: ClusterId) -> None:
        self._members.pop(name).cluster.end()

    def _completed(self, name: ClusterId, session: Session) -> None:
        member = self._members[name]
        member.complete, member.restored = session, None
        self._arrange()
        self._moved()
        if name == self._own:
            self._own_complete.set()

    def _moved(self) -> None:
        """A cluster's state is another."""
        returned = [each for each in self._members.values() if each.restored and each.is_current]
        for member in returned:
            member.restored = None
        if returned:
            self._arrange()
        self._last_known.wake()
        self._recorder.wake()
        self._rating.stir()
        self._healing.wake()
        self._renewal.wake()

    # Which of them are in the view

    def _arrange(self) -> None:
        """Put exactly those clusters into the view that are complete and no other's double."""
        stores = {name: store for name, one in self._members.items() if (store := one.store) is not None}
        ranks = {name: member.rank for name, member in self._members.items()}
        identities = {name: store.identity for name, store in stores.items()}
        same = same_clusters(identities, ranks)
        for loser, winner in same.items():
            if self._same.get(loser) != winner:
                _log.warning("cluster is known under another name", cluster=loser, same_as=winner)
        self._same.clear()
        self._same.update(same)
        self.view.hold({name: store for name, store in stores.items() if name not in same})

    def _report_refusals(self) -> None:
        """Log what is refused, once."""
        before, now = self._refusals, time.time()
        reasons = [claim.refusal for claim in self._roster.winners.values() if claim.access is None]
        reasons += [loser.reason for loser in self._roster.losers]
        self._refusals = {reason: before.get(reason, now) for reason in reasons}
        for reason in sorted(self._refusals.keys() - before.keys()):
            _log.warning("cluster refused", reason=reason)
        self._recorder.wake()

    # What is known of them

    @property
    def listed(self) -> bool:
        """Whether the cluster Secrets were read, so that all clusters of the mesh are known."""
        return self._listed

    def status(self) -> Sequence[ClusterStatus]:
        """Every cluster, and every key of a Secret that is refused; by name, the clusters first."""
        watched = [self._describe(name, member) for name, member in sorted(self._members.items())]
        watched = [each if each.secret else self._with_secrets(each) for each in watched]
        refused = [
            self._refused(claim, claim.refusal)
            for name, claim in sorted(self._roster.winners.items())
            if name not in self._members
        ]
        return (
            *watched,
            *refused,
            *(self._refused(loser.claim, loser.reason) for loser in self._roster.losers),
        )

    def _describe(self, name: ClusterId, member: Member) -> ClusterStatus:
        return describe(
            member.cluster,
            member.claim,
            member.health,
            restored=None if member.restored is None else member.restored.store,
            remarks=(
                member.refusal,
                *self._rating.flaws(member),
                remark_on_doubles(self.view.doubles(name)),
                *self._healing.remarks(name, member),
                self._renewal.remark(name) or self._end_of_credential(member),
            ),
            same_as=self._same.get(name),
            standing=self._rating.standing(member),
            drain=self._rating.drain(member),
        )

    def _end_of_credential(self, member: Member) -> str:
        claim, access = member.claim, member.cluster.access
        if claim is None or access is None:
            return ""
        return warn_of_end(expiry_of(access), renewable(claim), self._wall())

    def _with_secrets(self, own: ClusterStatus) -> ClusterStatus:
        """The own cluster's status, and what is amiss with reading its cluster Secrets."""
        watch, remarks = self._secrets_watch, list(own.remarks)
        refusals = (self._recorder.refusal, self._last_known.refusal, self._renewal.refusal)
        remarks += [refusal for refusal in refusals if refusal]
        if watch is None:
            return replace(own, remarks=tuple(remarks))
        if watch.phase is Phase.FAILED:
            remarks.insert(0, f"cluster Secrets in {self._namespace} cannot be read: {watch.error}")
        return replace(own, remarks=tuple(remarks), rejected=(*own.rejected, *watch.rejected))

    def _refused(self, claim: Claim, reason: str) -> ClusterStatus:
        since = self._refusals[reason]
        secret = str(claim.secret)
        advice = advise(
            Health(State.REFUSED, since, reason), secret=secret, server="", expires=None, now=time.time()
        )
        return ClusterStatus(claim.cluster, State.REFUSED, since, reason, secret=secret, advice=advice)

    async def settled(self) -> None:
        """Wait until a proxy can be answered: the own cluster is read, every remote is or had its time.

        One that could not be read is served from its last-known state from here on.
        """
        await self._own_complete.wait()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._secrets_answered.wait()
                await self._last_known.loaded.wait()
                for member in tuple(self._members.values()):
                    await member.cluster.answered()
        except TimeoutError:
            _log.info("ready without clusters that do not answer")
        self._is_settled = True
        self._restore()
        self._last_known.wake()

    def _restore(self) -> None:
        """Serve what others know better."""
        if restore_lost(self._members, self._last_known, self.view.new_store):
            self._arrange()
            self._rating.stir()


def _ref(secret: Secret) -> Ref:
    return Ref(secret.metadata.namespace, secret.metadata.name)


@asynccontextmanager
async def running_clusters(
    local: Access,
    *,
    cluster_id: ClusterId,
    namespace: str,
    networks: Mapping[ClusterId, Network],
    stale: StaleEndpoints = _KEEP,
    heal: bool = True,
    connect: Connect = connected,
    wall: Callable[[], float] = time.time,
) -> AsyncGenerator[Clusters]:
    """Watch the control plane's own cluster (by `local`, named `cluster_id`) and all that its Secrets name.

    `namespace` is the control plane's: there the cluster Secrets are, and in every cluster the namespace
    with the network label. `networks` are the mesh config's, where a cluster has no such label. `stale` is
    what a stale cluster's endpoints are worth, and `heal` whether the control plane's addresses there are
    kept, where its Secret does not say. `wall` tells Unix seconds.
    """
    async with task_scope() as scope:
        clusters = Clusters(
            scope,
            local,
            cluster_id=cluster_id,
            namespace=namespace,
            networks=networks,
            stale=stale,
            heal=heal,
            connect=connect,
            wall=wall,
        )
        scope.serve(clusters.serve(local), name="cluster secrets")
        yield clusters
