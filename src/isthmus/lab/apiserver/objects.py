"""API objects as JSON dictionaries: the few accessors that every module needs. No rules are here."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast
from uuid import uuid4

import msgspec

Object: TypeAlias = dict[str, Any]
"""One API object, or a part of one, as decoded JSON. Stored objects are shared: never change one in place."""

_encoder = msgspec.json.Encoder()


def metadata(object_: Mapping[str, Any]) -> Object:
    """The object's metadata, empty if it has none; a change to an empty one is lost."""
    return section(object_, "metadata")


def section(object_: Mapping[str, Any], name: str) -> Object:
    """The map at that field, or an empty one that is not part of the object."""
    value = object_.get(name)
    return cast("Object", value) if isinstance(value, dict) else {}


def items(object_: Mapping[str, Any], name: str) -> list[Object]:
    """The list of maps at that field, or an empty one that is not part of the object."""
    value = object_.get(name)
    return cast("list[Object]", value) if isinstance(value, list) else []


def strings(object_: Mapping[str, Any], name: str) -> list[str]:
    """The list of strings at that field, or an empty one that is not part of the object."""
    value = object_.get(name)
    return cast("list[str]", value) if isinstance(value, list) else []


def name_of(object_: Mapping[str, Any]) -> str:
    """`metadata.name`, or an empty string."""
    return metadata(object_).get("name") or ""


def namespace_of(object_: Mapping[str, Any]) -> str:
    """`metadata.namespace`, empty for objects of the whole cluster."""
    return metadata(object_).get("namespace") or ""


def labels_of(object_: Mapping[str, Any]) -> dict[str, str]:
    """`metadata.labels`, or an empty map."""
    return section(metadata(object_), "labels")


def encode(value: object) -> bytes:
    """Compact JSON."""
    return _encoder.encode(value)


def copy(object_: Object) -> Object:
    """A deep copy that may be changed."""
    return cast("Object", _copied(object_))


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in cast("Object", value).items()}
    if isinstance(value, list):
        return [_copied(part) for part in cast("list[Any]", value)]
    return value


def now(*, after: float = 0) -> str:
    """The time in `after` seconds as Kubernetes writes it: RFC 3339, UTC, whole seconds."""
    return (datetime.now(UTC) + timedelta(seconds=after)).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_uid() -> str:
    """A fresh `metadata.uid`."""
    return str(uuid4())
