"""What a list and a watch say together, as a state machine without I/O: bytes in, real differences out.

It holds a digest of the last good version of every object, so that a new list emits only what differs from
it: who needs the objects keeps them, once. An object that cannot be read keeps its last good version in force
and is named in `rejected` until it can be read or is gone.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Generic, TypeVar, cast, get_origin

import msgspec
from msgspec import Struct

from isthmus.kube.decoding import BadLine, Batch, Ref, Rejected, decode_line, metadata_of
from isthmus.kube.errors import Unreachable
from isthmus.kube.kinds import Kind
from isthmus.kube.objects import Metadata

T = TypeVar("T")
_encoder = msgspec.json.Encoder(order="deterministic")


class Upserted(Struct, Generic[T], frozen=True):
    """The object is new, or differs from what was delivered before."""

    object: T


class Removed(Struct, Generic[T], frozen=True):
    """The object is gone. Of it only name, namespace and uid are told, in an otherwise empty object."""

    object: T


class Synced(Struct, frozen=True):
    """The first list is complete: everything that exists was delivered. Comes once."""

    resource_version: str


_DIGEST = 16
"""Bytes."""


class Outdated(Exception):  # noqa: N818 - a state, not a failure
    """What the watch says does not continue what we have: list anew."""


def is_older(version: str, than: str) -> bool:
    """Whether a resource version precedes another (KEP-5504: they compare as numbers)."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


class Reflector(Generic[T]):
    """One kind's objects, followed through lists and watches.

    `resource_version` is where a watch is to resume, "" before the first list or after one broke off.
    """

    def __init__(self, kind: Kind[T], deliver: "Callable[[Upserted[T] | Removed[T] | Synced], None]") -> None:
        self.resource_version = ""
        self.rejected: dict[Ref, Rejected] = {}
        self.rejections = 0
        """How often `rejected` changed."""
        self.synced = False
        self._kind = kind
        self._deliver = deliver
        self._known: dict[Ref, bytes] = {}
        """A digest of the content, and the packed uid: one object for each, as there are many."""
        self._listed: set[Ref] = set()

    def begin_list(self) -> None:
        """A list starts: until it ends no watch may resume."""
        self.resource_version = ""
        self._listed.clear()

    def take_batch(self, batch: Batch[T]) -> None:
        """A part of the list."""
        for item in batch.items:
            self._listed.add(self._upsert(item))
        for rejected in batch.rejected:
            self._listed.add(rejected.ref)
            self._reject(rejected)

    def end_list(self, resource_version: str) -> None:
        """The list is complete: what it did not name is gone."""
        for ref in [ref for ref in self._known if ref not in self._listed]:
            self._remove(ref)
        for ref in [ref for ref in self.rejected if ref not in self._listed]:
            self._absolve(ref)
        self._listed.clear()
        self.resource_version = resource_version
        if not self.synced:
            self.synced = True
            self._deliver(Synced(resource_version))

    def take_line(self, line: bytes) -> str:
        """One line of the watch; its type. Raises ApiError (ERROR), Unreachable (nonsense), Outdated."""
        event = decode_line(self._kind, line)
        if isinstance(event, BadLine):
            return self._take_bad_line(event)
        meta = metadata_of(event.object)
        if event.type == "DELETED":
            self._remove(Ref(meta.namespace, meta.name))
        else:
            if is_older(meta.resource_version, self.resource_version):
                raise Outdated(f"the watch went back from {self.resource_version} to {meta.resource_version}")
            if event.type != "BOOKMARK":
                self._upsert(event.object)
        self._advance(meta.resource_version)
        return event.type

    def _take_bad_line(self, bad: BadLine) -> str:
        if bad.deleted:
            self._remove(bad.rejected.ref)
        else:
            self._reject(bad.rejected)
        self._advance(bad.resource_version)
        return "DELETED" if bad.deleted else "REJECTED"

    def _advance(self, version: str) -> None:
        # Servers before 1.12 name the last living version in DELETED: never go back for that.
        if version and not is_older(version, self.resource_version):
            self.resource_version = version

    def _upsert(self, item: T) -> Ref:
        meta = metadata_of(item)
        ref = Ref(meta.namespace, meta.name)
        self._absolve(ref)
        now = blake2b(_encoder.encode(item), digest_size=_DIGEST).digest() + pack_uid(meta.uid)
        known = self._known.get(ref)
        if known is not None:
            if known == now:
                return ref
            if known[_DIGEST:] != now[_DIGEST:]:
                self._remove(ref)
        self._known[ref] = now
        self._deliver(Upserted(item))
        return ref

    def _remove(self, ref: Ref) -> None:
        self._absolve(ref)
        known = self._known.pop(ref, None)
        if known is not None:
            self._deliver(Removed(_bare(self._kind, ref, unpack_uid(known[_DIGEST:]))))

    def _reject(self, rejected: Rejected) -> None:
        if self.rejected.get(rejected.ref) != rejected:
            self.rejected[rejected.ref] = rejected
            self.rejections += 1

    def _absolve(self, ref: Ref) -> None:
        if self.rejected and self.rejected.pop(ref, None) is not None:
            self.rejections += 1


def pack_uid(uid: str) -> bytes:
    """A uid in as few bytes as will do: Kubernetes' are UUIDs, but a server may say anything."""
    if len(uid) == 36:
        try:
            packed = b"\0" + bytes.fromhex(uid.replace("-", ""))
        except ValueError:
            pass
        else:
            if len(packed) == 17 and unpack_uid(packed) == uid:
                return packed
    return b"\1" + uid.encode(errors="surrogatepass")


def unpack_uid(packed: bytes) -> str:
    """The uid that was packed."""
    if packed[0]:
        return packed[1:].decode(errors="surrogatepass")
    text = packed[1:].hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _bare(kind: Kind[T], ref: Ref, uid: str) -> T:
    """An object of that kind with nothing but its name, namespace and uid."""
    if get_origin(kind.type) is dict:
        return cast("T", {"metadata": {"name": ref.name, "namespace": ref.namespace, "uid": uid}})
    return cast("Any", kind.type)(metadata=Metadata(name=ref.name, namespace=ref.namespace, uid=uid))


class LineBuffer:
    """Lines out of chunks of bytes, as they are complete."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = bytearray()

    @property
    def is_amid_a_line(self) -> bool:
        """Whether a line has begun that is not complete."""
        return bool(self._rest)

    def feed(self, chunk: bytes) -> Sequence[bytes]:
        """The lines that this chunk completes. Raises Unreachable where one grows beyond the bound."""
        if self._rest or not chunk.endswith(b"\n"):
            # Only what is new is searched, so that a long line in small chunks costs no more than its length.
            end = chunk.rfind(b"\n") + 1
            if not end:
                self._rest += chunk
                if len(self._rest) > self._most:
                    raise Unreachable(f"its watch sent a line longer than {self._most >> 10} KiB")
                return ()
            head, rest = bytes(self._rest) + chunk[:end], chunk[end:]
            self._rest = bytearray(rest)
            chunk = head
        return [line for line in chunk.split(b"\n") if line]
