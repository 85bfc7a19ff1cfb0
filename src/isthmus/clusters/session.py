"""One client's watches of one cluster, which fill one store; no session outlives its credential."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from random import uniform
from typing import Any, NoReturn

from isthmus.clusters.api import Api
from isthmus.clusters.health import Health, Life, Probe
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
    Kind,
)
from isthmus.kube.objects import EndpointSlice
from isthmus.kube.watch import Phase, WatchState
from isthmus.lib.backoff import Backoff
from isthmus.lib.lifecycle import task_scope

_WITHOUT = {
    "nodes": "localities are not known",
    "namespaces": "the network label and the cluster's identity are not known",
}
_CHOICES = (ENDPOINT_SLICE, ENDPOINT_SLICE_V1BETA1)
_FIRST_PROBE = (1.0, 5.0)
_PROBE_EVERY = (20.0, 30.0)
_VERSION_EVERY = 600.0
"""Seconds; of the pairs something in between, so that the probes of many clusters spread."""


class KindGone(Exception):  # noqa: N818 - it is a state of affairs
    """The server has ceased to serve the version of a kind that was watched: begin anew with what it has."""


class Session:
    """What one client learns of a cluster. `progressed` is called after each report of a watch or probe."""

    def __init__(self, intake: Intake, progressed: Callable[["Session"], None]) -> None:
        self._intake = intake
        self._progressed = progressed
        self._life = Life(time.time())
        self._health = self._life.health
        self.version = ""
        """What the API server calls itself, "" while it has not said."""
        self.latency: float | None = None
        """Seconds that it took to answer the latest probe; None where it did not."""

    @property
    def store(self) -> ClusterStore:
        """What it has learned."""
        return self._intake.store

    @property
    def complete(self) -> bool:
        """Whether every list was read once, save those that this reader may not read and need not."""
        return self._life.complete

    @property
    def health(self) -> Health:
        """How the cluster looks through this client."""
        return self._health

    @property
    def changed_at(self) -> float | None:
        """When the latest change of its objects came, in Unix seconds."""
        return self._intake.changed_at

    @property
    def missing(self) -> tuple[str, ...]:
        """What it goes without, in words, for lack of rights."""
        return tuple(
            f"{self._life.watches[plural].error}; {consequence}"
            for plural, consequence in _WITHOUT.items()
            if self._life.is_without(plural)
        )

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """Objects, and fields of objects, that were left out."""
        whole = (each for watch in self._life.watches.values() for each in watch.rejected)
        return *whole, *(each for parts in self._intake.rejected.values() for each in parts)

    def crashed(self, reason: str) -> None:
        """It was ended by what is no failure of the server's."""
        self._learn(self._life.broke(time.time(), reason))

    def _learn(self, life: Life) -> None:
        self._life, self._health = life, life.health
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
            scope.serve(self._probe(api), name="probes")
            await self._serve_endpoints(api)

    async def _probe(self, api: Api) -> NoReturn:
        """Ask the server now and then how it is; it costs one small request."""
        clock = asyncio.get_running_loop().time
        pause, asked = uniform(*_FIRST_PROBE), float("-inf")
        while True:
            await asyncio.sleep(pause)
            pause = uniform(*_PROBE_EVERY)
            begun = clock()
            error = await _outcome(api.ready())
            latency = clock() - begun
            probe = Probe(time.time(), latency, error)
            self.latency = None if isinstance(error, Unreachable) else latency
            if self._intake.changed_at is not None and probe.failed:
                self._life = self._life.heard(self._intake.changed_at)
            self._learn(self._life.probed(probe))
            if not probe.failed and begun - asked > _VERSION_EVERY:
                try:
                    self.version, asked = await api.version(), begun
                except (ApiError, Unreachable):
                    asked = begun

    async def _serve_endpoints(self, api: Api) -> NoReturn:
        """EndpointSlices where the cluster has them, else Endpoints; it is asked until it answers."""
        report = self._reporter("endpoints")
        backoff = Backoff()
        while True:
            try:
                for kind in _CHOICES:
                    if await api.serves(kind.group, kind.version, kind.plural):
                        await self._watch_slices(api, kind)
                await api.watch(ENDPOINTS, self._intake.endpoints, report=report)
            except (ApiError, Unreachable) as error:
                delay = backoff.next_delay()
                report(WatchState(Phase.FAILED, time.time(), error=error, retry_in=delay))
                await asyncio.sleep(delay)

    async def _watch_slices(self, api: Api, kind: Kind[EndpointSlice]) -> NoReturn:
        """Watch them for as long as the server has that version: an upgrade may take it away (KindGone)."""
        report, missed = self._reporter("endpoints"), asyncio.Event()

        def note(watch: WatchState) -> None:
            report(watch)
            if isinstance(watch.error, ApiError) and watch.error.status == 404:
                missed.set()

        async with task_scope() as scope:
            scope.serve(api.watch(kind, self._intake.slice, report=note), name=kind.plural)
            while True:
                await missed.wait()
                missed.clear()
                if await _is_gone(api, kind):
                    raise KindGone(f"it serves {kind.api_version} {kind.plural} no more")

    def _reporter(self, plural: str) -> Callable[[WatchState], None]:
        def report(watch: WatchState) -> None:
            self._learn(self._life.watched(plural, watch))

        return report


async def _is_gone(api: Api, kind: Kind[EndpointSlice]) -> bool:
    """Whether discovery confirms it; silence does not."""
    try:
        return not await api.serves(kind.group, kind.version, kind.plural)
    except (ApiError, Unreachable):
        return False


async def _outcome(question: Coroutine[Any, Any, None]) -> ApiError | Unreachable | None:
    try:
        await question
    except (ApiError, Unreachable) as error:
        return error
    return None
