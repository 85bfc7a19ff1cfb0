"""Bytes of an API server's answers into objects: pure, and forgiving one object at a time.

A whole answer that makes no sense is `Unreachable`; one object in it that does not is `Rejected` and takes
nothing else down. Go writes empty lists and maps as null, so where a strict decode fails the object is
decoded again with its nulls left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar, cast

import msgspec
from msgspec import Raw, Struct

from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import Kind
from isthmus.kube.objects import Metadata, Object

T = TypeVar("T")
_NONSENSE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What decoding raises for bytes that somebody else made."""
_BATCH = 32
"""Objects decoded in one go: a few milliseconds even for slices of 100 endpoints."""


class Ref(NamedTuple):
    """An object's name within its kind; `namespace` is "" for what belongs to the cluster."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Rejected:
    """An object that cannot be read, and why: `reason` names the field and holds no value of it."""

    kind: str
    ref: Ref
    reason: str


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """A few objects of a page, and those that cannot be read."""

    items: tuple[T, ...]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `continue_` asks for the next and is "" on the last."""

    kind: Kind[T]
    resource_version: str
    continue_: str
    raw_items: tuple[Raw, ...] = field(repr=False)

    def batches(self) -> Iterator[Batch[T]]:
        """Its objects, decoded a few at a time: who shares an event loop pauses in between."""
        for start in range(0, len(self.raw_items), _BATCH):
            yield _decode_batch(self.kind, self.raw_items[start : start + _BATCH])


class Line(Struct, Generic[T], frozen=True, gc=False):
    """One line of a watch: `type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: T


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line whose object cannot be read. `deleted`: it is gone anyway."""

    deleted: bool
    rejected: Rejected
    resource_version: str


class _ListMeta(Struct, rename="camel"):
    resource_version: str | None = None
    continue_: str | None = msgspec.field(default=None, name="continue")


class _RawList(Struct):
    items: tuple[Raw, ...] | None
    metadata: _ListMeta
    kind: str = ""


class _RawLine(Struct):
    type: str
    object: Raw


class _Status(Struct):
    code: int | None = None
    reason: str | None = None
    message: str | None = None


_raw_list = msgspec.json.Decoder(_RawList)
_raw_line = msgspec.json.Decoder(_RawLine)
_status = msgspec.json.Decoder(_Status)


@cache
def _object_decoder(of: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(of)


@cache
def _line_decoder(of: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(Line[of])


def metadata_of(item: object) -> Metadata:
    """An object's metadata, whether it is typed or a plain JSON object."""
    if isinstance(item, Object):
        return item.metadata
    return msgspec.convert(_without_nulls(cast("dict[str, Any]", item).get("metadata", {})), Metadata)


def decode_object(kind: Kind[T], body: bytes | Raw) -> T:
    """One object. Raises msgspec.ValidationError naming the field, or DecodeError where it is no JSON."""
    try:
        item = _object_decoder(kind.type).decode(body)
    except msgspec.ValidationError:
        item = msgspec.convert(_without_nulls(msgspec.json.decode(body)), kind.type)
    if not metadata_of(item).name:
        raise msgspec.ValidationError("Object without a name - at `$.metadata.name`")
    return item


def decode_page(kind: Kind[T], body: bytes) -> Page[T]:
    """One answer to a list. Raises Unreachable where it is no list: never is nonsense an empty list."""
    try:
        page = _raw_list.decode(body)
    except _NONSENSE as error:
        raise Unreachable(f"its list of {kind.plural} is no Kubernetes list: {error}") from None
    if page.kind and not page.kind.endswith("List"):
        raise Unreachable(f"asked for a list of {kind.plural}, it answered a {page.kind[:100]}")
    if not page.metadata.resource_version:
        raise Unreachable(f"its list of {kind.plural} has no metadata.resourceVersion")
    return Page(kind, page.metadata.resource_version, page.metadata.continue_ or "", page.items or ())


def _decode_batch(kind: Kind[T], raw_items: Sequence[Raw]) -> Batch[T]:
    items: list[T] = []
    rejected: list[Rejected] = []
    for raw in raw_items:
        try:
            items.append(decode_object(kind, raw))
        except _NONSENSE as error:
            rejected.append(_rejection(kind, raw, error)[0])
    return Batch(tuple(items), tuple(rejected))


def decode_line(kind: Kind[T], line: bytes) -> Line[T] | BadLine:
    """One line of a watch: a single decode where all is well.

    Raises ApiError for an ERROR event, and Unreachable where the line is no watch event at all.
    """
    try:
        event: Line[T] = _line_decoder(kind.type).decode(line)
        named = bool(metadata_of(event.object).name)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return _decode_strange_line(kind, line)
    except _NONSENSE as error:
        raise Unreachable(f"its watch of {kind.plural} sent what is no JSON: {error}") from None
    if event.type == "BOOKMARK" or (named and event.type in ("ADDED", "MODIFIED", "DELETED")):
        return event
    return _decode_strange_line(kind, line)


def _decode_strange_line(kind: Kind[T], line: bytes) -> Line[T] | BadLine:
    try:
        raw = _raw_line.decode(line)
    except _NONSENSE as error:
        raise Unreachable(f"its watch of {kind.plural} sent what is no watch event: {error}") from None
    match raw.type:
        case "ERROR":
            raise status_error(bytes(raw.object), 500, "ERROR event")
        case "BOOKMARK":
            return _decode_bookmark(kind, raw.object)
        case "ADDED" | "MODIFIED" | "DELETED":
            pass
        case other:
            raise Unreachable(f"its watch of {kind.plural} sent an event of unknown type {other[:40]!r}")
    try:
        return Line(raw.type, decode_object(kind, raw.object))
    except _NONSENSE as error:
        rejected, version = _rejection(kind, raw.object, error)
        return BadLine(raw.type == "DELETED", rejected, version)


def _decode_bookmark(kind: Kind[T], raw: Raw) -> Line[T]:
    try:
        mark = msgspec.convert(_without_nulls(msgspec.json.decode(raw)), kind.type)
        metadata_of(mark)
    except _NONSENSE as error:
        raise Unreachable(f"its watch of {kind.plural} sent a bad bookmark: {error}") from None
    return Line("BOOKMARK", mark)


def status_error(body: bytes, status: int, phrase: str, retry_after: float | None = None) -> ApiError:
    """The error that an answer's body describes (meta/v1 Status), as far as it does."""
    try:
        told = _status.decode(body)
    except _NONSENSE:
        told = _Status(message=_excerpt(body))
    return ApiError(
        told.code or status, told.reason or phrase, (told.message or "")[:500], retry_after=retry_after
    )


def _excerpt(body: bytes) -> str:
    text = "".join(c if c.isprintable() else " " for c in body[:200].decode(errors="replace"))
    return " ".join(text.split())[:100]


def _rejection(kind: Kind[Any], raw: Raw, error: Exception) -> tuple[Rejected, str]:
    """What can still be said of an object that cannot be read: its name and resource version."""
    try:
        whole = msgspec.json.decode(raw)
        meta: Any = whole.get("metadata") if isinstance(whole, dict) else None  # pyright: ignore[reportUnknownVariableType,reportUnknownMemberType]
    except _NONSENSE:
        meta = None
    fields = cast("dict[str, Any]", meta if isinstance(meta, dict) else {})
    ref = Ref(*(str(fields.get(key) or "") for key in ("namespace", "name")))
    return Rejected(kind.kind, ref, str(error)), str(fields.get("resourceVersion") or "")


def _without_nulls(value: Any) -> Any:
    """The same JSON with null members and elements left out."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {key: _without_nulls(each) for key, each in members.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in cast("list[Any]", value) if each is not None]
    return value
