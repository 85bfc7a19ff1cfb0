"""A last-known state as the ConfigMaps that hold it: their names, and what they come to. Pure."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.clusters import snapshot
from isthmus.clusters.snapshot import VERSION, SnapshotRefused
from isthmus.kube.objects import ConfigMap
from isthmus.model.service import ClusterId

PREFIX = "isthmus.dev/"


@dataclass(frozen=True, slots=True)
class Remembered:
    """A state that was found. `taken_at`: when the cluster was last known to be like that (Unix seconds)."""

    server: str
    taken_at: float
    content: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """What stands in one ConfigMap: `mark` tells states apart, `taken_at` is as in `Remembered`."""

    mark: str
    resource_version: str
    taken_at: float


def read_written(found: ConfigMap) -> Written:
    """What stands in it; it is as old as can be where it does not say."""
    told = found.metadata.annotations
    return Written(
        mark(told.get(PREFIX + "digest", ""), told.get(PREFIX + "server", "")),
        found.metadata.resource_version,
        _seconds(told.get(PREFIX + "taken-at", "")) or 0.0,
    )


def mark(digest: str, server: str) -> str:
    """What tells apart states that are to be kept."""
    return f"{digest} {server}"


def cluster_of(found: ConfigMap) -> ClusterId:
    """Whose state it is a part of."""
    return ClusterId(found.metadata.annotations.get(PREFIX + "cluster", ""))


def names_of_others(first: ConfigMap, cluster: ClusterId) -> Sequence[str]:
    """The ConfigMaps beside the first that hold the rest of a state."""
    chunks = first.metadata.annotations.get(PREFIX + "chunks", "")
    return [name_of(cluster, index) for index in range(1, int(chunks) if chunks.isdecimal() else 1)]


def name_of(cluster: ClusterId, index: int) -> str:
    """A ConfigMap's name; a cluster's own may hold what no object's name can."""
    return f"isthmus-last-known-{hashlib.sha256(cluster.encode()).hexdigest()[:16]}-{index}"


def join(parts: Sequence[ConfigMap]) -> Remembered:
    """One state out of its chunks. Raises SnapshotRefused."""
    parts = sorted(parts, key=lambda part: part.metadata.name.rpartition("-")[2].zfill(9))
    told = parts[0].metadata.annotations
    if told.get(PREFIX + "version") != VERSION:
        raise SnapshotRefused("it was written by another version")
    digest = told.get(PREFIX + "digest", "")
    if told.get(PREFIX + "chunks") != str(len(parts)) or any(
        part.metadata.annotations.get(PREFIX + "digest") != digest for part in parts
    ):
        raise SnapshotRefused("its parts do not belong together")
    taken_at = _seconds(told.get(PREFIX + "taken-at", ""))
    if taken_at is None:
        raise SnapshotRefused("it does not say when it was taken")
    try:
        packed = b"".join(base64.b64decode(part.data.get("state", ""), validate=True) for part in parts)
    except (binascii.Error, ValueError) as error:
        raise SnapshotRefused(f"it cannot be read: {error}") from None
    return Remembered(told.get(PREFIX + "server", ""), taken_at, snapshot.unpack(packed, digest))


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
