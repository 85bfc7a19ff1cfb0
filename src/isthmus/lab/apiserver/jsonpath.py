"""The simple JSONPath of printer columns and scale paths: `.a.b`, `['a.b']`, `[0]`, `[*]`, `[?(@.a=="b")]`.

Pure. Source: Kubernetes "JSONPath Support", as far as CustomResourceDefinitions use it.
"""

import re
from collections.abc import Callable
from typing import Any, cast

from isthmus.lab.apiserver.objects import Object

_STEP = re.compile(
    r"""\.(?P<name>(?:[^.\[\]\\]|\\.)+) | \[(?P<index>-?\d+|\*)\] | \['(?P<quoted>[^']+)'\]
    | \[\?\(@\.(?P<key>[\w.]+)\s*==\s*["'](?P<value>[^"']*)["']\)\]""",
    re.VERBOSE,
)


def find(path: str, object_: Object) -> list[Any]:
    """Every value at the path; none where nothing is there, or the path is beyond this grammar."""
    found: list[Any] = [object_]
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            return []
        found = [value for one in found for value in _step(match)(one)]
        position = match.end()
    return found


def first(path: str, object_: Object) -> Any:
    """The first value at the path, or None."""
    return next(iter(find(path, object_)), None)


def _step(match: re.Match[str]) -> Callable[[Any], list[Any]]:
    name = match["name"] or match["quoted"]
    if name:
        plain = name.replace("\\", "")
        return lambda one: [one[plain]] if isinstance(one, dict) and plain in one else []
    index, key = match["index"], match["key"]
    if key:
        return lambda one: [part for part in _items(one) if first(f".{key}", part) == match["value"]]
    if index == "*":
        return _items
    return lambda one: _items(one)[int(index) :][:1]


def _items(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
