"""As whom a proxy is served: what it proved, its Pod as its cluster shows it, and its own word for neither.

Its cluster is the one that vouched for its token. A certificate proves an identity that is the same in every
cluster; then the cluster that the proxy names counts, if a Pod of that name runs there as that account. Where
it names none, its Pod is looked for in all of them. A Pod may be known a moment later than its proxy asks: it
is waited for.
"""

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Protocol, TypeAlias

import structlog

from isthmus.ca.authorization import contradiction
from isthmus.ca.errors import NotAdmitted, PodUnknown
from isthmus.ca.wording import shown
from isthmus.model.identity import Identity
from isthmus.model.proxy import Proxy
from isthmus.model.service import ClusterId
from isthmus.model.view import Changes
from isthmus.model.workload import Workload, WorkloadKey

_log = structlog.stdlib.get_logger(__name__)
PATIENCE = 5.0
"""Seconds that a Pod may be known later than its proxy asks."""
_Name: TypeAlias = tuple[str, str]
"""Namespace and name, in whatever cluster."""


class Pods(Protocol):
    """What is needed of the joined view."""

    def workload(self, key: WorkloadKey) -> Workload | None:
        """The pod of that name, or None."""
        ...

    def subscribe(self, listener: Callable[[Changes], None]) -> AbstractContextManager[None]:
        """Call `listener` at once, on the event loop, for each change until the block ends."""
        ...


class Admission:
    """Judges proxies; made by `admitting` only."""

    def __init__(self, pods: Pods, clusters: Iterable[ClusterId], patience: float) -> None:
        self._pods = pods
        self._clusters = clusters
        self._patience = patience
        self._awaited: dict[_Name, set[asyncio.Future[None]]] = {}

    async def admit(self, claimed: Proxy, identity: Identity) -> Proxy:
        """The proxy with its Pod's cluster, namespace, name and address, and with its identity.

        Raises NotAdmitted for what contradicts the proof, PodUnknown where no such Pod appears in time;
        either was logged.
        """
        try:
            self._check(claimed, identity)
            workload = await self._pod(claimed, identity)
            self._check(claimed, identity, workload)
        except NotAdmitted as refusal:
            _log.warning("proxy refused", proxy=claimed.node_id, proved=identity.uri, reason=refusal.reason)
            raise
        except PodUnknown as unknown:
            _log.warning("proxy put off", proxy=claimed.node_id, proved=identity.uri, reason=unknown.reason)
            raise
        return replace(
            claimed,
            address=next(iter(workload.addresses), ""),
            pod=workload.key.name,
            namespace=workload.key.namespace,
            cluster=workload.key.cluster,
            identity=replace(identity, cluster=workload.key.cluster, pod=workload.key.name),
        )

    def changed(self, changes: Changes) -> None:
        """Wake those whose Pod it may be."""
        if self._awaited:
            for name in {(key.namespace, key.name) for key in changes.workloads} & self._awaited.keys():
                for waiting in self._awaited[name]:
                    if not waiting.done():
                        waiting.set_result(None)

    def _check(self, claimed: Proxy, identity: Identity, workload: Workload | None = None) -> None:
        reason = contradiction(claimed, identity, workload)
        if reason:
            raise NotAdmitted(reason)

    async def cluster_of(self, namespace: str, pod: str, address: str) -> ClusterId | None:
        """The cluster that shows a Pod of that name, waited for; of several the one where it is at `address`.

        None where none shows it in time, or several do and the address does not tell.
        """
        name = (namespace, pod)
        found = await self._awaited_pod(name, lambda: _one_of(self._everywhere(name), address))
        return None if found is None else found.key.cluster

    async def _pod(self, claimed: Proxy, identity: Identity) -> Workload:
        name, cluster = (identity.namespace, claimed.pod), identity.cluster or claimed.cluster
        found = await self._awaited_pod(name, lambda: self._find(name, cluster, claimed, identity))
        if found is None:
            where = f"cluster {shown(cluster)} shows" if cluster else "no cluster shows"
            no = "no pod" if cluster else "a pod"
            raise PodUnknown(f"{where} {no} {shown(claimed.pod)} in namespace {identity.namespace}")
        return found

    async def _awaited_pod(self, name: _Name, find: Callable[[], Workload | None]) -> Workload | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while (found := find()) is None:
                    await self._change_of(name)
                return found
        return None

    def _find(self, name: _Name, cluster: ClusterId, claimed: Proxy, identity: Identity) -> Workload | None:
        """The Pod as far as it is known. Of several in clusters unnamed the address decides."""
        if cluster:
            return self._pods.workload(WorkloadKey(cluster, *name))
        fitting = [one for one in self._everywhere(name) if one.service_account == identity.service_account]
        return _one_of(fitting, claimed.address)

    def _everywhere(self, name: _Name) -> list[Workload]:
        found = (self._pods.workload(WorkloadKey(one, *name)) for one in self._clusters)
        return [one for one in found if one is not None]

    async def _change_of(self, name: _Name) -> None:
        waiting = asyncio.get_running_loop().create_future()
        others = self._awaited.setdefault(name, set())
        others.add(waiting)
        try:
            await waiting
        finally:
            others.discard(waiting)
            if not others and self._awaited.get(name) is others:
                del self._awaited[name]


def _one_of(pods: Sequence[Workload], address: str) -> Workload | None:
    """The only one, or else the only one at that address."""
    there = pods if len(pods) == 1 else [one for one in pods if address in one.addresses]
    return there[0] if len(there) == 1 else None


@contextmanager
def admitting(
    pods: Pods, clusters: Iterable[ClusterId], *, patience: float = PATIENCE
) -> Generator[Admission]:
    """Judges proxies by the Pods of the joined view, until the block ends. `clusters` is live."""
    admission = Admission(pods, clusters, patience)
    with pods.subscribe(admission.changed):
        yield admission
