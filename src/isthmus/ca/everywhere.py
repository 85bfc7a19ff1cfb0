"""The trusted roots in every cluster of the mesh: one distribution a cluster, as clusters come and go.

Each is a task of its own, and its trouble stays its own. Which clusters there are, and by which client each
is reached, is looked at every second: that costs nothing, and rotations need no rule of their own.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn

import structlog

from isthmus.ca.distribution import BundleSource, Distribution, distributing_bundle
from isthmus.clusters.api import Api
from isthmus.lib.lifecycle import TaskScope, task_scope
from isthmus.model.service import ClusterId

_log = structlog.stdlib.get_logger(__name__)
_LOOK = 1.0


class Distributions:
    """The distribution of each cluster; made by `distributing_everywhere` only."""

    def __init__(self, clients: Mapping[ClusterId, Api], source: BundleSource, tasks: TaskScope) -> None:
        self._clients = clients
        self._source = source
        self._tasks = tasks
        self._running: dict[ClusterId, tuple[Api, asyncio.Task[None]]] = {}
        self._distributions: dict[ClusterId, Distribution] = {}

    def missing(self) -> Mapping[ClusterId, str]:
        """What cannot be done for lack of rights, by the clusters where that is so."""
        found = ((name, one.missing) for name, one in sorted(self._distributions.items()))
        return {name: missing for name, missing in found if missing}

    def lacking(self, clusters: Iterable[ClusterId]) -> Sequence[ClusterId]:
        """Those of `clusters` where not every namespace is known to trust the roots of now, by name.

        One that refuses us the right is none of them: it is not for us to wait for.
        """
        found = ((name, self._distributions.get(name)) for name in sorted(clusters))
        return [name for name, one in found if one is None or one.lacking]

    async def serve(self) -> NoReturn:
        """Begin and end distributions."""
        while True:
            wanted = dict(self._clients)
            for name, (api, task) in tuple(self._running.items()):
                if wanted.get(name) is not api or task.done():
                    task.cancel()
                    del self._running[name]
                    self._distributions.pop(name, None)
            for name, api in wanted.items():
                if name not in self._running:
                    task = self._tasks.spawn(self._distribute(name, api), name=f"trust bundle of {name}")
                    self._running[name] = api, task
            await asyncio.sleep(_LOOK)

    async def _distribute(self, name: ClusterId, api: Api) -> None:
        try:
            async with distributing_bundle(api, self._source, cluster=name) as distribution:
                self._distributions[name] = distribution
                await asyncio.Event().wait()
        except Exception:  # noqa: BLE001 - one cluster's fault must not become the others'
            _log.exception("distribution of the trust bundle failed; it begins again", cluster=name)


@asynccontextmanager
async def distributing_everywhere(
    clients: Mapping[ClusterId, Api], source: BundleSource
) -> AsyncGenerator[Distributions]:
    """Keep every namespace's copy of the trusted roots in all of these clusters, until the block ends.

    `clients` is live: a cluster that comes is served, one that goes is let go of.
    """
    async with task_scope() as tasks:
        distributions = Distributions(clients, source, tasks)
        tasks.serve(distributions.serve(), name="trust bundles of clusters")
        yield distributions
