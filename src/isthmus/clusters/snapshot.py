"""A cluster's last-known state as bytes and back: pure. It holds what its store holds, and no Secret.

The bytes are a function of the content, so that replicas agree. What was written by another version, or was
damaged on the way, is refused as a whole.
"""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import replace
from sys import intern
from typing import Any

import msgspec

from isthmus.clusters.labels import Labels, shared_labels
from isthmus.clusters.parts import PodPart, ServicePart, SlicePart
from isthmus.clusters.store import ClusterStore
from isthmus.kube.decoding import Ref
from isthmus.model.service import Network
from isthmus.model.workload import Locality

VERSION = "1"
_PIECE = 16 << 10
_MOST = 256 << 20
"""Bytes that a state may have when it is unpacked."""


class SnapshotRefused(Exception):  # noqa: N818 - the domain's word
    """These bytes are no state that we can use: go without, and write a new one when there is one."""


class _State(msgspec.Struct, array_like=True):
    identity: str
    network: str
    nodes: list[tuple[str, Locality]]
    pods: list[PodPart]
    services: list[ServicePart]
    slices: list[tuple[Ref, SlicePart]]


def _take(wanted: type, found: Any) -> Any:
    if wanted is Labels:
        return shared_labels(msgspec.convert(found, dict[str, str]))
    raise NotImplementedError(wanted)


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(_State, dec_hook=_take)


def encode(store: ClusterStore) -> bytes:
    """The state of a store, not yet packed."""
    state = _State(
        identity=store.identity,
        network=store.network,
        nodes=sorted(store.nodes.items()),
        pods=[part for _, part in sorted(store.pods.items(), key=lambda item: item[0])],
        services=[part for _, part in sorted(store.services.items(), key=lambda item: item[0])],
        slices=sorted(store.slices.items(), key=lambda item: item[0]),
    )
    return _encoder.encode(state)


def digest(content: bytes) -> str:
    """What tells two states apart, before they are packed."""
    return hashlib.sha256(content).hexdigest()


def pack(content: bytes) -> Iterator[bytes]:
    """Compressed, a little at a time: who shares an event loop pauses in between."""
    packing = zlib.compressobj(6)
    for at in range(0, len(content), _PIECE):
        yield packing.compress(content[at : at + _PIECE])
    yield packing.flush()


def unpack(packed: bytes, expected: str) -> bytes:
    """The content whose digest is `expected`. Raises SnapshotRefused."""
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(packed, _MOST)
    except zlib.error as error:
        raise SnapshotRefused(f"it cannot be unpacked: {error}") from None
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise SnapshotRefused("it is cut off, or larger than any state")
    if digest(content) != expected:
        raise SnapshotRefused("its content is not what its digest says")
    return content


def restore(content: bytes, store: ClusterStore) -> None:
    """Fill an empty store of the same cluster. Raises SnapshotRefused."""
    try:
        state = _decoder.decode(content)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotRefused(f"it cannot be read: {error}") from None
    store.identity = state.identity
    store.put_network(Network(state.network))
    for name, locality in state.nodes:
        store.put_node(name, locality)
    for part in state.pods:
        workload = replace(
            part.workload,
            key=part.workload.key._replace(cluster=store.cluster, name=intern(part.workload.key.name)),
            labels=shared_labels(part.workload.labels),
            annotations=shared_labels(part.workload.annotations),
        )
        store.put_pod(replace(part, workload=workload))
    for service in state.services:
        store.put_service(service)
    for ref, piece in state.slices:
        store.put_slice(ref, piece)
