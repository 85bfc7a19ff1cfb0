"""One client's watches of one cluster, which fill one store; no session outlives its credential."""

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

from isthmus.clusters.api import Api
from isthmus.clusters.health import Health, State, assess, is_forbidden, observe
from isthmus.clusters.intake import Intake
from isthmus.clusters.store import ClusterStore
from isthmus.kube.decoding import Rejected
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import (
    ENDPOINT_SLICE,
    ENDPOINT_SLICE_V1BETA1,
    ENDPOINTS,
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
)
from isthmus.kube.watch import Phase, WatchState
from isthmus.lib.backoff import Backoff
from isthmus.lib.lifecycle import task_scope

_INDISPENSABLE = frozenset({"services", "endpoints", "pods"})
_DISPENSABLE = {
    "nodes": "localities are not known",
    "namespaces": "the network label and the cluster's identity are not known",
}
_CHOICES = (ENDPOINT_SLICE, ENDPOINT_SLICE_V1BETA1)


class Session:
    """What one client learns of a cluster. `progressed` is called after each report of a watch."""

    def __init__(self, intake: Intake, progressed: Callable[["Session"], None]) -> None:
        self._intake = intake
        self._progressed = progressed
        self._started = time.time()
        self._watches: dict[str, WatchState] = {}
        self._crashed: Health | None = None
        self._synced: set[str] = set()
        self._complete = False

    @property
    def store(self) -> ClusterStore:
        """What it has learned."""
        return self._intake.store

    @property
    def complete(self) -> bool:
        """Whether every list was read once, save those that this reader may not read and need not."""
        return self._complete

    @property
    def health(self) -> Health:
        """How the cluster looks through this client."""
        if self._crashed is not None:
            return self._crashed
        watches = {plural: watch for plural, watch in self._watches.items() if not self._is_without(plural)}
        return assess(watches, joined=self.complete, started=self._started)

    @property
    def missing(self) -> tuple[str, ...]:
        """What it goes without, in words, for lack of rights."""
        return tuple(
            f"{self._watches[plural].error}; {consequence}"
            for plural, consequence in _DISPENSABLE.items()
            if self._is_without(plural)
        )

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """Objects, and fields of objects, that were left out."""
        whole = (each for watch in self._watches.values() for each in watch.rejected)
        return *whole, *(each for parts in self._intake.rejected.values() for each in parts)

    def crashed(self, reason: str) -> None:
        """It was ended by what is no failure of the server's: what it has learned grows old from now on."""
        state = State.STALE if self.complete else State.UNREACHABLE
        self._crashed = Health(state, time.time(), reason)
        self._progressed(self)

    async def serve(self, api: Api) -> NoReturn:
        """Watch everything, for ever."""
        intake = self._intake
        async with task_scope() as scope:
            scope.serve(api.watch(POD, intake.pod, report=self._reporter("pods")), name="pods")
            scope.serve(api.watch(NODE, intake.node, report=self._reporter("nodes")), name="nodes")
            scope.serve(
                api.watch(NAMESPACE, intake.namespace, report=self._reporter("namespaces")), name="namespaces"
            )
            scope.serve(
                api.watch(SERVICE, intake.service, report=self._reporter("services")), name="services"
            )
            await self._serve_endpoints(api)

    async def _serve_endpoints(self, api: Api) -> NoReturn:
        """EndpointSlices where the cluster has them, else Endpoints; it is asked until it answers."""
        report = self._reporter("endpoints")
        backoff = Backoff()
        while True:
            try:
                for kind in _CHOICES:
                    if await api.serves(kind.group, kind.version, kind.plural):
                        await api.watch(kind, self._intake.slice, report=report)
                await api.watch(ENDPOINTS, self._intake.endpoints, report=report)
            except (ApiError, Unreachable) as error:
                delay = backoff.next_delay()
                report(WatchState(Phase.FAILED, time.time(), error=error, retry_in=delay))
                await asyncio.sleep(delay)

    def _reporter(self, plural: str) -> Callable[[WatchState], None]:
        def report(watch: WatchState) -> None:
            self._watches[plural] = observe(self._watches.get(plural), watch)
            if watch.phase is Phase.SYNCED:
                self._synced.add(plural)
            wanted = _INDISPENSABLE.union(each for each in _DISPENSABLE if not self._is_without(each))
            self._complete = self._complete or wanted <= self._synced
            self._progressed(self)

        return report

    def _is_without(self, plural: str) -> bool:
        watch = self._watches.get(plural)
        return (
            plural in _DISPENSABLE
            and watch is not None
            and watch.phase is Phase.FAILED
            and is_forbidden(watch)
        )
