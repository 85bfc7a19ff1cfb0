"""Paths into objects and sets of them, as `metadata.managedFields` writes them (FieldsV1). Pure.

A path is the steps from the object to one of its parts: `f:NAME` is a map's member, `k:KEYS` a list's item
by its keys, `v:VALUE` one by its value. Source: Kubernetes "Server-Side Apply", and FieldsV1 in its API
reference.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, cast

from isthmus.lab.apiserver.objects import Object

Path: TypeAlias = tuple[str, ...]
Paths: TypeAlias = frozenset[Path]
_ITSELF = "."


def member_step(name: str) -> str:
    """The step to a map's member."""
    return f"f:{name}"


def keyed_step(keys: Object) -> str:
    """The step to the item of a list with these keys."""
    return "k:" + _compact(keys)


def value_step(value: Any) -> str:
    """The step to a value of a list of distinct values."""
    return "v:" + _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def to_fields(paths: Iterable[Path]) -> Object:
    """The set as a FieldsV1 tree; `.` marks a part that is in the set besides parts of it."""
    root: Object = {}
    nodes = {path: _node(root, path) for path in sorted(paths)}
    for node in nodes.values():
        if node:
            node[_ITSELF] = {}
    return root


def _node(root: Object, path: Path) -> Object:
    node = root
    for step in path:
        node = node.setdefault(step, {})
    return node


def from_fields(fields: Object) -> Paths:
    """The set in a FieldsV1 tree; ValueError where it is none."""
    return frozenset(_members(fields, ()))


def _members(node: Object, path: Path) -> Iterator[Path]:
    for step, below in node.items():
        if step == _ITSELF:
            continue
        if step[:2] not in ("f:", "k:", "v:", "i:") or not isinstance(below, dict):
            raise ValueError(f"no step of a path: {step}")
        inner = cast("Object", below)
        if not inner or _ITSELF in inner:
            yield (*path, step)
        yield from _members(inner, (*path, step))


def with_parents(paths: Iterable[Path]) -> set[Path]:
    """The paths, and all that they lead through."""
    return {path[:length] for path in paths for length in range(1, len(path) + 1)}


def path_text(path: Path) -> str:
    """A path as messages write it: `.spec.containers[name="web"].image`."""
    return "".join(map(_step_text, path))


def _step_text(step: str) -> str:
    kind, content = step[:2], step[2:]
    match kind:
        case "k:":
            keys = cast("Object", json.loads(content))
            return "[" + ",".join(f"{key}={_compact(value)}" for key, value in keys.items()) + "]"
        case "v:":
            return f"[={content}]"
        case "i:":
            return f"[{content}]"
        case _:
            return f".{content}"
