"""All clusters of the mesh: the control plane's own, and one for each key of the labelled Secrets beside it.

Secrets are followed as they come, change and go, before and after start. No cluster makes another wait.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn

import structlog

from isthmus.clusters.api import Api, Connect, connected
from isthmus.clusters.claims import Claims
from isthmus.clusters.cluster import Cluster
from isthmus.clusters.complaints import complaints
from isthmus.clusters.healer import Healing
from isthmus.clusters.health import State
from isthmus.clusters.intake import Intake
from isthmus.clusters.last_known import LastKnown
from isthmus.clusters.members import Clients, Member
from isthmus.clusters.overview import Overview
from isthmus.clusters.rating import Rating
from isthmus.clusters.recorder import Recorder
from isthmus.clusters.renewal import Renewal
from isthmus.clusters.restoring import lost, restore_lost, worth_keeping
from isthmus.clusters.roster import Claim, Rank, Roster, same_clusters
from isthmus.clusters.session import Session
from isthmus.clusters.status import ClusterStatus
from isthmus.clusters.view import JoinedView
from isthmus.config.mesh import StaleEndpoints
from isthmus.kube.access import Access
from isthmus.kube.decoding import Ref
from isthmus.lib.lifecycle import TaskScope, task_scope
from isthmus.model.service import ClusterId, Network

_log = structlog.stdlib.get_logger(__name__)
_KEEP = StaleEndpoints()
_DAY = 86400.0
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
        certificate_life: float,
        connect: Connect,
        wall: Callable[[], float],
    ) -> None:
        self.view = JoinedView(networks)
        self._scope = scope
        self._connect = connect
        self._own = cluster_id
        self._namespace = namespace
        self._members: dict[ClusterId, Member] = {}
        self._same: dict[ClusterId, ClusterId] = {}
        self._claims = Claims(scope, namespace, cluster_id, self._decided)
        self._own_complete = asyncio.Event()
        self._is_settled = False
        self.events: Counter[tuple[str, str]] = Counter()
        """What the clusters' watches brought, by kind and event, as istiod names them."""
        self.timeouts: Counter[str] = Counter()
        """Clusters that had not been read when proxies could be answered, by name."""
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
        self._recorder = Recorder(namespace, lambda: complaints(self.status(), wall()))
        self._overview = Overview(
            members=self._members,
            same=self._same,
            claims=self._claims,
            view=self.view,
            rating=self._rating,
            healing=self._healing,
            renewal=self._renewal,
            recorder=self._recorder,
            last_known=self._last_known,
            wall=wall,
            certificate_life=certificate_life,
        )
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
            await self._claims.serve(api)

    async def _serve_healing(self) -> NoReturn:
        with self.view.subscribe(self._healing.changed):
            await self._healing.serve()

    def _decided(self, roster: Roster) -> None:
        for name, member in tuple(self._members.items()):
            if member.claim is not None and self._is_over(member.claim, roster.winners.get(name)):
                self._remove(name)
        for name, claim in roster.winners.items():
            self._take(name, claim)
        self._arrange()
        self._recorder.wake()

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
            anew = member.claim is not None and member.claim.secret_uid != claim.secret_uid
            member.claim, member.rank, member.refusal = claim, claim.rank, ""
            member.cluster.offer(claim.access, claim.meant, anew=anew)
        self._rating.stir()
        self._healing.wake()
        self._renewal.wake()

    def _add(self, name: ClusterId, rank: Rank, claim: Claim | None, access: Access) -> None:
        cluster = Cluster(
            name,
            self._scope,
            connect=self._connect,
            intake=lambda: Intake(
                self.view.new_store(name),
                control_namespace=self._namespace,
                changed=self.view.changed,
                events=self.events,
            ),
            completed=lambda session: self._completed(name, session),
            moved=self._moved,
            reworded=self._recorder.wake,
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

    # What is known of them

    @property
    def listed(self) -> bool:
        """Whether the cluster Secrets were read, so that all clusters of the mesh are known."""
        return self._claims.listed

    def status(self) -> Sequence[ClusterStatus]:
        """Every cluster, and every key of a Secret that is refused; by name, the clusters first."""
        return self._overview.status()

    async def settled(self) -> None:
        """Wait until a proxy can be answered: the own cluster is read, every remote is or had its time.

        One that could not be read is served from its last-known state from here on.
        """
        await self._own_complete.wait()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._claims.answered.wait()
                await self._last_known.loaded.wait()
                for member in tuple(self._members.values()):
                    await member.cluster.answered()
        except TimeoutError:
            _log.info("ready without clusters that do not answer")
        self.timeouts.update(
            one.name for one in self.status() if not one.served and one.state is not State.REFUSED
        )
        self._is_settled = True
        self._restore()
        self._last_known.wake()

    def _restore(self) -> None:
        """Serve what others know better."""
        if restore_lost(self._members, self._last_known, self.view.new_store):
            self._arrange()
            self._rating.stir()


@asynccontextmanager
async def running_clusters(
    local: Access,
    *,
    cluster_id: ClusterId,
    namespace: str,
    networks: Mapping[ClusterId, Network],
    stale: StaleEndpoints = _KEEP,
    heal: bool = True,
    certificate_life: float = _DAY,
    connect: Connect = connected,
    wall: Callable[[], float] = time.time,
) -> AsyncGenerator[Clusters]:
    """Watch the control plane's own cluster (by `local`, named `cluster_id`) and all that its Secrets name.

    `namespace` is the control plane's: there the cluster Secrets are, and in every cluster the namespace
    with the network label. `networks` are the mesh config's, where a cluster has no such label. `stale` is
    what a stale cluster's endpoints are worth, and `heal` whether the control plane's addresses there are
    kept, where its Secret does not say. `certificate_life` is how long a workload's certificate lasts, in
    seconds; `wall` tells Unix seconds.
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
            certificate_life=certificate_life,
            connect=connect,
            wall=wall,
        )
        scope.serve(clusters.serve(local), name="cluster secrets")
        yield clusters
