"""Keeps each remote's last-known state in ConfigMaps beside the control plane, for replicas that lack it.

Every replica writes; equal content is written once, and of two who differ the last wins, by resource version;
but not who has lost the cluster over who had it longer. Who has lost it, or starts without it, follows what
others write. Without the right to do so it stops, says so, and nothing else suffers. A state that does
not fit is not kept.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import uniform
from typing import Any, NoReturn

import structlog

from isthmus.clusters import snapshot
from isthmus.clusters.api import Api
from isthmus.clusters.remembered import (
    PREFIX,
    Remembered,
    Written,
    cluster_of,
    join,
    mark,
    name_of,
    names_of_others,
    read_written,
)
from isthmus.clusters.snapshot import VERSION, SnapshotRefused
from isthmus.clusters.store import ClusterStore
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import CONFIG_MAP
from isthmus.kube.objects import ConfigMap
from isthmus.model.service import ClusterId

LABEL = "isthmus.dev/last-known"
_CHUNK = 700 << 10
"""Bytes in one ConfigMap, which base64 makes a third longer: Kubernetes allows 1 MiB."""
_MOST_CHUNKS = 16
_SOON = 2.0
"""Seconds until another attempt to read."""
_GATHER = (0.5, 1.5)
"""Seconds, something in between, until the state of a cluster is written that was newly read, or lost."""
_SHORTEST, _LONGEST = 10.0, 60.0
_REST = 50.0
"""Seconds between two rounds of writing; as many for each second of work, within these bounds."""
_SPREAD = (1.0, 1.25)
"""By what each pause is stretched, drawn anew, so that replicas do not write at once."""
_FAREWELL = 2.0
"""Seconds for the last round, when we are asked to end."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """A cluster whose state is worth keeping: where it is, its store, and when that last changed.

    `lost_at` is since when it is not known to be like that any more, None where it is. Times: Unix seconds.
    """

    cluster: ClusterId
    server: str
    store: ClusterStore
    changed_at: float | None
    lost_at: float | None


class LastKnown:
    """The states of all remotes. `look` names those worth keeping now, `known` all that there are.

    `lost` names those whose states are followed, and `found` is called when a new one can be recalled.
    """

    def __init__(
        self,
        namespace: str,
        *,
        look: Callable[[], list[Subject]],
        known: Callable[[], set[ClusterId]],
        lost: Callable[[], Collection[ClusterId]],
        found: Callable[[], None],
    ) -> None:
        self._trouble: ApiError | Unreachable | None = None
        self.loaded = asyncio.Event()
        """Whether what there is was read, or could not be."""
        self._namespace = namespace
        self._look = look
        self._known = known
        self._lost = lost
        self._tell = found
        self._found: dict[ClusterId, Remembered] = {}
        self._written: dict[str, Written] = {}
        self._owners: dict[str, ClusterId] = {}
        self._kept: dict[ClusterId, float | None] = {}
        self._woken = asyncio.Event()

    def recall(self, cluster: ClusterId) -> Remembered | None:
        """The state of that cluster as it was found last, or None."""
        return self._found.get(cluster)

    def recalled(self) -> None:
        """Nobody asks for what was found any more."""
        self._found.clear()

    async def serve(self, api: Api) -> NoReturn:
        """Read what there is, then keep it up to date, for ever."""
        while not await self._attempt(self._load(api)):
            if not isinstance(self._trouble, ApiError):
                await asyncio.sleep(_SOON)
                continue
            self.loaded.set()
            await asyncio.sleep(_LONGEST * uniform(*_SPREAD))
        self.loaded.set()
        clock, worked = asyncio.get_running_loop().time, 0.0
        try:
            while True:
                await self._pause(worked)
                began = clock()
                await self._attempt(self._keep_all(api))
                await self._attempt(self._follow_all(api))
                worked = clock() - began
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await self._attempt(self._keep_all(api))

    def wake(self) -> None:
        """A cluster was read as a whole, or lost: should we end now, it is to be known."""
        self._woken.set()

    async def _pause(self, worked: float) -> None:
        rest = min(max(_SHORTEST, _REST * worked), _LONGEST)
        try:
            async with asyncio.timeout(rest * uniform(*_SPREAD)):
                await self._woken.wait()
        except TimeoutError:
            return
        await asyncio.sleep(uniform(*_GATHER))
        self._woken.clear()

    async def _attempt(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether the work was done; what kept it from that is logged once."""
        try:
            await work
        except (ApiError, Unreachable) as error:
            if self._trouble is None:
                _log.warning("last-known states cannot be kept", reason=str(error))
            self._trouble = error
            return False
        self._trouble = None
        return True

    @property
    def refusal(self) -> str:
        """Why no states are kept, in words; "" while they are."""
        if self._trouble is None:
            return ""
        return f"The last-known states of clusters cannot be kept for a restart: {self._trouble}"

    # Reading

    async def _load(self, api: Api) -> None:
        chunks: dict[ClusterId, list[ConfigMap]] = {}
        for found in await api.list(CONFIG_MAP, self._namespace, label_selector=f"{LABEL}=true"):
            chunks.setdefault(self._note(found), []).append(found)
        for cluster, parts in chunks.items():
            self._take(cluster, parts)

    def _note(self, found: ConfigMap) -> ClusterId:
        name, cluster = found.metadata.name, cluster_of(found)
        self._written[name] = read_written(found)
        self._owners[name] = cluster
        return cluster

    def _take(self, cluster: ClusterId, parts: Sequence[ConfigMap]) -> bool:
        try:
            self._found[cluster] = join(parts)
        except SnapshotRefused as error:
            _log.warning("last-known state refused", cluster=cluster, reason=str(error))
            return False
        return True

    async def _follow_all(self, api: Api) -> None:
        """Look whether another replica has written what we cannot read, one ConfigMap a lost cluster."""
        for cluster in self._lost():
            if await self._follow(api, cluster):
                self._tell()

    async def _follow(self, api: Api, cluster: ClusterId) -> bool:
        name = name_of(cluster, 0)
        before = self._written.get(name)
        try:
            first = await api.get(CONFIG_MAP, name, self._namespace)
            self._note(first)
            if before is not None and before.mark == self._written[name].mark:
                return False
            others = names_of_others(first, cluster)
            parts = [first, *[await api.get(CONFIG_MAP, other, self._namespace) for other in others]]
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        if self._take(cluster, parts):
            return True
        self._written.pop(name)  # it may be only half written: look again
        return False

    # Writing

    async def _keep_all(self, api: Api) -> None:
        for subject in self._look():
            if subject.changed_at is None or self._kept.get(subject.cluster) != subject.changed_at:
                await self._keep(api, subject)
                self._kept[subject.cluster] = subject.changed_at
        known = self._known()
        for name, cluster in tuple(self._owners.items()):
            if cluster not in known:
                await self._forget(api, name)

    async def _keep(self, api: Api, subject: Subject) -> None:
        content = snapshot.encode(subject.store)
        digest = snapshot.digest(content)
        pieces: list[bytes] = []
        for piece in snapshot.pack(content):
            pieces.append(piece)
            await asyncio.sleep(0)
        packed = b"".join(pieces)
        chunks = [packed[at : at + _CHUNK] for at in range(0, len(packed), _CHUNK)]
        if len(chunks) > _MOST_CHUNKS:
            _log.warning(
                "last-known state is too large to be kept", cluster=subject.cluster, bytes=len(packed)
            )
            chunks = []
        told = {
            "cluster": subject.cluster,
            "server": subject.server,
            "version": VERSION,
            "digest": digest,
            "chunks": str(len(chunks)),
            "taken-at": str(subject.lost_at or time.time()),
        }
        names = [name_of(subject.cluster, index) for index in range(len(chunks))]
        known = self._written.get(name_of(subject.cluster, 0))
        if known is not None and subject.lost_at is not None and known.taken_at > subject.lost_at:
            return  # another replica had it longer
        for name, chunk in zip(names, chunks, strict=True):
            await self._write(api, name, told, chunk, subject.cluster)
        for name, cluster in tuple(self._owners.items()):
            if cluster == subject.cluster and name not in names:
                await self._forget(api, name)

    async def _write(
        self, api: Api, name: str, told: Mapping[str, str], chunk: bytes, cluster: ClusterId
    ) -> None:
        written = self._written.get(name)
        if written is not None and written.mark == mark(told["digest"], told["server"]):
            return
        metadata: dict[str, Any] = {
            "name": name,
            "labels": {LABEL: "true"},
            "annotations": {PREFIX + key: text for key, text in told.items()},
        }
        body = {"metadata": metadata, "data": {"state": base64.b64encode(chunk).decode()}}
        try:
            if written is None:
                head = {"apiVersion": "v1", "kind": "ConfigMap"}
                await api.create(CONFIG_MAP, head | body, self._namespace)
            else:
                metadata["resourceVersion"] = written.resource_version
                await api.patch(CONFIG_MAP, name, body, self._namespace)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            # Another replica was here: what it wrote is looked at in the next round.
            self._written.pop(name, None)
            self._kept.pop(cluster, None)
        await self._reread(api, name)

    async def _reread(self, api: Api, name: str) -> None:
        try:
            self._note(await api.get(CONFIG_MAP, name, self._namespace))
        except ApiError as error:
            if error.status != 404:
                raise
            self._written.pop(name, None)

    async def _forget(self, api: Api, name: str) -> None:
        try:
            await api.delete(CONFIG_MAP, name, self._namespace)
        except ApiError as error:
            if error.status != 404:
                raise
        self._written.pop(name, None)
        self._owners.pop(name, None)
