"""Keeps each remote's last-known state in ConfigMaps beside the control plane, for a start without it.

Every replica writes; equal content is written once, and of two who differ the last wins, by resource version.
Without the right to do so it stops, says so, and nothing else suffers. A state that does not fit is not kept.
"""

import asyncio
import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import uniform
from typing import Any, NoReturn

import structlog

from isthmus.clusters import snapshot
from isthmus.clusters.api import Api
from isthmus.clusters.snapshot import VERSION, SnapshotRefused
from isthmus.clusters.store import ClusterStore
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import CONFIG_MAP
from isthmus.kube.objects import ConfigMap
from isthmus.model.service import ClusterId

LABEL = "isthmus.dev/last-known"
_PREFIX = "isthmus.dev/"
_CHUNK = 700 << 10
"""Bytes in one ConfigMap, which base64 makes a third longer: Kubernetes allows 1 MiB."""
_MOST_CHUNKS = 16
_SOON = 2.0
"""Seconds until another attempt to read, and at least until the state of a cluster newly read is written."""
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
    """A cluster whose state is worth keeping: where it is, its store, and when that last changed."""

    cluster: ClusterId
    server: str
    store: ClusterStore
    changed_at: float | None


@dataclass(frozen=True, slots=True)
class Remembered:
    """A state that was found; `taken_at` is when it was written, in Unix seconds."""

    server: str
    taken_at: float
    content: bytes


@dataclass(slots=True)
class _Written:
    """What stands in one ConfigMap."""

    digest: str
    resource_version: str


class LastKnown:
    """The states of all remotes. `look` names those worth keeping now, `known` all that there are."""

    def __init__(
        self, namespace: str, look: Callable[[], list[Subject]], known: Callable[[], set[ClusterId]]
    ) -> None:
        self._trouble: ApiError | Unreachable | None = None
        self.loaded = asyncio.Event()
        """Whether what there is was read, or could not be."""
        self._namespace = namespace
        self._look = look
        self._known = known
        self._found: dict[ClusterId, Remembered] = {}
        self._written: dict[str, _Written] = {}
        self._owners: dict[str, ClusterId] = {}
        self._kept: dict[ClusterId, float | None] = {}
        self._read = asyncio.Event()

    def recall(self, cluster: ClusterId) -> Remembered | None:
        """The state of that cluster as it was found at the start, or None."""
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
                worked = clock() - began
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await self._attempt(self._keep_all(api))

    def wake(self) -> None:
        """A cluster was read as a whole: should it fail now, and we too, it is to be known."""
        self._read.set()

    async def _pause(self, worked: float) -> None:
        rest = min(max(_SHORTEST, _REST * worked), _LONGEST)
        try:
            async with asyncio.timeout(rest * uniform(*_SPREAD)):
                await self._read.wait()
        except TimeoutError:
            return
        await asyncio.sleep(uniform(_SOON, 2 * _SOON))
        self._read.clear()

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
            cluster = ClusterId(found.metadata.annotations.get(_PREFIX + "cluster", ""))
            self._note(found, cluster)
            chunks.setdefault(cluster, []).append(found)
        for cluster, parts in chunks.items():
            try:
                self._found[cluster] = _join(parts)
            except SnapshotRefused as error:
                _log.warning("last-known state refused", cluster=cluster, reason=str(error))

    def _note(self, found: ConfigMap, cluster: ClusterId) -> None:
        name, told = found.metadata.name, found.metadata.annotations
        mark = f"{told.get(_PREFIX + 'digest', '')} {told.get(_PREFIX + 'server', '')}"
        self._written[name] = _Written(mark, found.metadata.resource_version)
        self._owners[name] = cluster

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
            "taken-at": str(time.time()),
        }
        names = [_name(subject.cluster, index) for index in range(len(chunks))]
        for name, chunk in zip(names, chunks, strict=True):
            await self._write(api, name, told, chunk, subject.cluster)
        for name, cluster in tuple(self._owners.items()):
            if cluster == subject.cluster and name not in names:
                await self._forget(api, name)

    async def _write(
        self, api: Api, name: str, told: Mapping[str, str], chunk: bytes, cluster: ClusterId
    ) -> None:
        mark = f"{told['digest']} {told['server']}"
        written = self._written.get(name)
        if written is not None and written.digest == mark:
            return
        metadata: dict[str, Any] = {
            "name": name,
            "labels": {LABEL: "true"},
            "annotations": {_PREFIX + key: text for key, text in told.items()},
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
        await self._reread(api, name, cluster)

    async def _reread(self, api: Api, name: str, cluster: ClusterId) -> None:
        try:
            self._note(await api.get(CONFIG_MAP, name, self._namespace), cluster)
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


def _name(cluster: ClusterId, index: int) -> str:
    """A ConfigMap's name; a cluster's own may hold what no object's name can."""
    return f"isthmus-last-known-{hashlib.sha256(cluster.encode()).hexdigest()[:16]}-{index}"


def _join(parts: list[ConfigMap]) -> Remembered:
    """One state out of its chunks. Raises SnapshotRefused."""
    parts = sorted(parts, key=lambda part: part.metadata.name.rpartition("-")[2].zfill(9))
    told = parts[0].metadata.annotations
    if told.get(_PREFIX + "version") != VERSION:
        raise SnapshotRefused("it was written by another version")
    digest = told.get(_PREFIX + "digest", "")
    if told.get(_PREFIX + "chunks") != str(len(parts)) or any(
        part.metadata.annotations.get(_PREFIX + "digest") != digest for part in parts
    ):
        raise SnapshotRefused("its parts do not belong together")
    try:
        packed = b"".join(base64.b64decode(part.data.get("state", ""), validate=True) for part in parts)
        taken_at = float(told.get(_PREFIX + "taken-at", ""))
    except (binascii.Error, ValueError) as error:
        raise SnapshotRefused(f"it cannot be read: {error}") from None
    return Remembered(told.get(_PREFIX + "server", ""), taken_at, snapshot.unpack(packed, digest))
