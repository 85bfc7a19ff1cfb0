"""Structured merge: which parts an object has, how two versions differ, and merging by the shape. Pure.

Lists that are owned as a whole replace each other; keyed ones merge item by item, sets are united. Source:
Kubernetes "Server-Side Apply" (merge strategy) and the documentation of sigs.k8s.io/structured-merge-diff.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from isthmus.lab.apiserver.fieldpaths import (
    Path,
    Paths,
    keyed_step,
    member_step,
    path_text,
    to_fields,
    value_step,
)
from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.shapes import ANY, WHOLE, Distinct, Granular, Keyed, Shape

_Parts: TypeAlias = Mapping[str, tuple[Shape, Any]]
_ABSENT: Any = object()


class StructureError(ValueError):
    """A value that has not the structure of its shape; the text names the path."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The paths at which two versions of an object differ."""

    added: Paths
    modified: Paths
    removed: Paths

    @property
    def set(self) -> Paths:
        """What the newer version says that the older did not."""
        return self.added | self.modified


def check_structure(shape: Shape, value: Any) -> None:
    """Refuse unknown fields, items without their keys, and items that are there twice."""
    _check(shape, value, ())


def _check(shape: Shape, value: Any, path: Path) -> None:
    match shape:
        case Granular() if isinstance(value, dict):
            for name, part in cast("Object", value).items():
                at = (*path, member_step(name))
                inner = shape.member(name)
                if inner is None:
                    raise StructureError(f"{path_text(at)}: field not declared in schema")
                _check(inner, part, at)
        case Keyed() | Distinct() if isinstance(value, list):
            seen: set[str] = set()
            for index, item in enumerate(cast("list[Any]", value)):
                step = _step(shape, item, path, index)
                if step in seen:
                    shown = path_text((step,))
                    raise StructureError(f"{path_text(path)}: duplicate entries for key {shown}")
                seen.add(step)
                if isinstance(shape, Keyed):
                    _check(shape.item, item, (*path, step))
        case Keyed() | Distinct() if value is not None:
            raise StructureError(f"{path_text(path)}: expected list, got {value!r}")
        case Granular() if value is not None and shape is not ANY:
            raise StructureError(f"{path_text(path)}: expected map, got {value!r}")
        case _:
            return


def _step(shape: Keyed | Distinct, item: Any, path: Path, index: int) -> str:
    if isinstance(shape, Distinct):
        return value_step(item)
    keys: Object = cast("Object", item) if isinstance(item, dict) else {}
    for key in shape.keys:
        if key not in keys and key not in shape.defaults:
            raise StructureError(
                f"{path_text(path)}: element {index}: associative list with keys has an element that omits "
                f'key field "{key}" (and doesn\'t have default value)'
            )
    return _key(shape, keys)


def _key(shape: Keyed, item: Object) -> str:
    return keyed_step({key: item.get(key, shape.defaults.get(key)) for key in shape.keys})


def _parts(shape: Shape, value: Any) -> _Parts | None:
    """The parts of a value that have owners of their own, by step; None where there are none such."""
    match shape:
        case Granular() if isinstance(value, dict):
            entries = cast("Object", value).items()
            return {member_step(name): (shape.member(name) or WHOLE, part) for name, part in entries}
        case Keyed() if isinstance(value, list):
            return {_key(shape, item): (shape.item, item) for item in cast("list[Object]", value)}
        case Distinct() if isinstance(value, list):
            return {value_step(item): (WHOLE, item) for item in cast("list[Any]", value)}
        case _:
            return None


def paths_of(shape: Shape, value: Any) -> Paths:
    """The paths of everything in a value: what its author owns."""
    return frozenset(_owned(shape, value, ()))


def _owned(shape: Shape, value: Any, path: Path) -> Iterator[Path]:
    parts = _parts(shape, value)
    if parts is None:
        yield path
        return
    declared = isinstance(shape, Granular) and shape.declared
    for step, (inner, part) in parts.items():
        at = (*path, step)
        if not declared or part is None or part == {}:
            yield at
        yield from _owned(inner, part, at)


def compared(shape: Shape, old: Any, new: Any) -> Comparison:
    """The differences between two versions."""
    added, modified, removed = set[Path](), set[Path](), set[Path]()

    def walk(shape: Shape, old: Any, new: Any, path: Path) -> None:
        if old is not _ABSENT and new is not _ABSENT and old == new:
            return
        if old is _ABSENT:
            added.add(path)
        elif new is _ABSENT:
            removed.add(path)
        left: _Parts | None = {} if old is _ABSENT else _parts(shape, old)
        right: _Parts | None = {} if new is _ABSENT else _parts(shape, new)
        if left is None or right is None or not (left or right):
            if old is not _ABSENT and new is not _ABSENT:
                modified.add(path)
            return
        for step in {**left, **right}:
            inner = (right.get(step) or left[step])[0]
            before = left[step][1] if step in left else _ABSENT
            after = right[step][1] if step in right else _ABSENT
            walk(inner, before, after, (*path, step))

    walk(shape, old, new, ())
    return Comparison(frozenset(added), frozenset(modified), frozenset(removed))


def merged(shape: Shape, live: Any, config: Any) -> Any:
    """The live value with all that the config says; the result may share parts with both."""
    match shape:
        case Granular() if isinstance(live, dict) and isinstance(config, dict):
            result: Object = {**cast("Object", live)}
            for name, value in cast("Object", config).items():
                inner = shape.member(name) or WHOLE
                result[name] = merged(inner, result[name], value) if name in result else value
            return result
        case Keyed() | Distinct() if isinstance(live, list) and isinstance(config, list):
            ours, theirs = _parts(shape, config), _parts(shape, live)
            assert ours is not None
            assert theirs is not None
            return _merged_items(theirs, ours)
        case _:
            return config


def _merged_items(live: _Parts, config: _Parts) -> list[Any]:
    """The config's order; what only the live list has stays before what it stood before."""
    result: list[Any] = []
    shared = deque(step for step in config if step in live)
    left = deque(live.items())
    for step, (shape, item) in config.items():
        while left and not (shared and left[0][0] == shared[0]):
            kept, (_, other) = left.popleft()
            if kept not in config:
                result.append(other)
        if step in live:
            shared.popleft()
        result.append(merged(shape, live[step][1], item) if step in live else item)
    return result + [other for kept, (_, other) in left if kept not in config]


def without(shape: Shape, value: Any, paths: Paths | set[Path]) -> Any:
    """The value without those parts, and without the maps and lists that are empty for that."""
    return _without(shape, value, to_fields(paths)) if paths else value


def _without(shape: Shape, value: Any, removed: Object) -> Any:
    parts = _parts(shape, value)
    if parts is None:
        return value
    kept: dict[str, Any] = {}
    for step, (inner, part) in parts.items():
        below = removed.get(step)
        if below is None:
            kept[step] = part
        elif below and "." not in below:
            left = _without(inner, part, below)
            if left not in ({}, []):
                kept[step] = left
    if isinstance(shape, Granular):
        return {step[2:]: part for step, part in kept.items()}
    return [*kept.values()]
