"""Finds endpoints that name a Pod which is not there, however long one waits: they are never used.

What such an endpoint speaks is not known, so it is not taken for a plain one; Kubernetes' own controllers
leave none behind. It is looked at all endpoints now and then, so that nothing has to be done at each change.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn, TypeAlias

import structlog

from isthmus.lib.slices import in_slices
from isthmus.model.service import ClusterId, ServiceKey
from isthmus.model.view import MeshView

_log = structlog.stdlib.get_logger(__name__)
PATIENCE = 30.0
"""Seconds between two looks: what is awaited at both is absent."""
_MOST_NAMED = 5
_Absent: TypeAlias = tuple[ClusterId, ServiceKey, str]
"""Cluster, service, and the endpoint's address."""


class AbsentPods:
    """The endpoints whose Pods were absent at the last two looks."""

    def __init__(self, view: MeshView) -> None:
        self._view = view
        self._awaited: set[_Absent] = set()
        self._absent: set[_Absent] = set()

    async def serve(self) -> NoReturn:
        """Look now and then, for ever."""
        while True:
            await asyncio.sleep(PATIENCE)
            await self.look()

    async def look(self) -> None:
        """Look once, and say in the log what is new."""
        found: set[_Absent] = set()
        await in_slices(self._collect(found))
        before, self._absent = self._absent, found & self._awaited
        self._awaited = found
        new: dict[tuple[ClusterId, ServiceKey], list[str]] = {}
        for cluster, service, address in sorted(self._absent - before):
            new.setdefault((cluster, service), []).append(address)
        for (cluster, service), addresses in new.items():
            _log.warning(
                "endpoints name Pods that are not there, and are not used",
                cluster=cluster,
                service=service.hostname(),
                endpoints=len(addresses),
                first=addresses[0],
            )

    def _collect(self, found: set[_Absent]) -> Iterator[None]:
        for service in tuple(self._view.services()):
            for groups in self._view.groups(service).values():
                for group in groups:
                    found.update(
                        (one.cluster, service, one.address) for one in group.endpoints if one.awaited
                    )
                    yield

    def remarks(self) -> Mapping[ClusterId, Sequence[str]]:
        """What an operator must know, by cluster."""
        found: dict[ClusterId, list[str]] = {}
        for cluster, service, address in sorted(self._absent):
            found.setdefault(cluster, []).append(f"{service.namespace}/{service.name} {address}")
        return {
            cluster: [
                f"{len(some)} endpoints name Pods that are not there, and are not used: "
                + ", ".join(some[:_MOST_NAMED])
                + ("…" if len(some) > _MOST_NAMED else "")
            ]
            for cluster, some in found.items()
        }
