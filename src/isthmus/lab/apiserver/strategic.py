"""Strategic merge patch: merge maps, and lists by the key that Kubernetes gives them. Pure.

Source: the Kubernetes "strategic merge patch" design (`$patch`, `$retainKeys`, `$deleteFromPrimitiveList`,
`$setElementOrder`), and the `patchStrategy` and `patchMergeKey` tags of its types, repeated in tables here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from isthmus.lab.apiserver.errors import bad_request
from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.resource import Resource

_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


@dataclass(frozen=True, slots=True)
class Shape:
    """How the fields of one map merge; a field that is in no table merges as a map, or is replaced."""

    maps: Mapping[str, "Shape"] = field(default_factory=dict[str, "Shape"])
    lists: Mapping[str, "Keyed"] = field(default_factory=dict[str, "Keyed"])
    sets: frozenset[str] = frozenset()
    """Lists of plain values that are united."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A list whose items are told apart by one field."""

    key: str
    item: Shape = field(default_factory=Shape)


_CONTAINER = Keyed(
    "name",
    Shape(
        lists={
            "ports": Keyed("containerPort"),
            "env": Keyed("name"),
            "volumeMounts": Keyed("mountPath"),
            "volumeDevices": Keyed("devicePath"),
        }
    ),
)
_CONDITIONS = Keyed("type")
_META = Shape(lists={"ownerReferences": Keyed("uid")}, sets=frozenset({"finalizers"}))
_POD_SPEC = Shape(
    lists={
        "containers": _CONTAINER,
        "initContainers": _CONTAINER,
        "ephemeralContainers": _CONTAINER,
        "volumes": Keyed("name"),
        "imagePullSecrets": Keyed("name"),
        "hostAliases": Keyed("ip"),
        "topologySpreadConstraints": Keyed("topologyKey"),
        "resourceClaims": Keyed("name"),
        "schedulingGates": Keyed("name"),
    }
)
_POD_STATUS = Shape(
    lists={
        "conditions": _CONDITIONS,
        "podIPs": Keyed("ip"),
        "hostIPs": Keyed("ip"),
        "resourceClaimStatuses": Keyed("name"),
    }
)
_TEMPLATE = Shape(maps={"metadata": _META, "spec": _POD_SPEC})
_CONDITIONED = Shape(lists={"conditions": _CONDITIONS})
_WORKLOAD = Shape(
    maps={"metadata": _META, "spec": Shape(maps={"template": _TEMPLATE}), "status": _CONDITIONED}
)
_PLAIN = Shape(maps={"metadata": _META, "status": _CONDITIONED})

_SHAPES: Mapping[tuple[str, str], Shape] = {
    ("", "pods"): Shape(maps={"metadata": _META, "spec": _POD_SPEC, "status": _POD_STATUS}),
    ("", "services"): Shape(
        maps={"metadata": _META, "spec": Shape(lists={"ports": Keyed("port")}), "status": _CONDITIONED}
    ),
    ("", "nodes"): Shape(
        maps={
            "metadata": _META,
            "spec": Shape(sets=frozenset({"podCIDRs"})),
            "status": Shape(lists={"conditions": _CONDITIONS, "addresses": Keyed("type")}),
        }
    ),
    ("", "serviceaccounts"): Shape(maps={"metadata": _META}, lists={"secrets": Keyed("name")}),
    ("apps", "deployments"): _WORKLOAD,
    ("apps", "replicasets"): _WORKLOAD,
    ("batch", "jobs"): _WORKLOAD,
}


def strategic_merge(resource: Resource, original: Object, patch: Object) -> Object:
    """The merged object. `original` may be changed; the patch is not."""
    shape = _SHAPES.get((resource.group, resource.plural), _PLAIN)
    merged = _merge_map(shape, original, patch)
    return {} if merged is None else merged


def _merge_map(shape: Shape, original: Object, patch: Object) -> Object | None:
    """The merged map; None where the patch deletes it."""
    match patch.get("$patch", "merge"):
        case "merge":
            pass
        case "delete":
            return None
        case "replace":
            return _plain({key: value for key, value in patch.items() if key != "$patch"})
        case other:
            raise bad_request(f"Unknown patch type found: {other}")
    if "$retainKeys" in patch:
        kept = cast("list[str]", patch["$retainKeys"])
        original = {key: value for key, value in original.items() if key in kept}
    for key, value in patch.items():
        if key in ("$patch", "$retainKeys") or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE):
            name = key.removeprefix(_DELETE)
            dropped = cast("list[Any]", value)
            original[name] = [
                one for one in cast("list[Any]", original.get(name) or []) if one not in dropped
            ]
        elif value is None:
            original.pop(key, None)
        else:
            _merge_field(shape, original, patch, key)
    for key in patch:
        name = key.removeprefix(_ORDER)
        if name != key and name not in patch and name in shape.lists and isinstance(original.get(name), list):
            keyed = shape.lists[name]
            original[name] = _ordered(keyed.key, original[name], patch[key], original[name])
    return original


def _merge_field(shape: Shape, original: Object, patch: Object, key: str) -> None:
    value, current = patch[key], original.get(key)
    if isinstance(value, dict):
        base = cast("Object", current) if isinstance(current, dict) else {}
        merged = _merge_map(shape.maps.get(key, Shape()), base, cast("Object", value))
        if merged is None:
            original.pop(key, None)
        else:
            original[key] = merged
    elif isinstance(value, list) and key in shape.lists:
        base = cast("list[Object]", current) if isinstance(current, list) else []
        order = cast("list[Object] | None", patch.get(_ORDER + key))
        original[key] = _merge_list(shape.lists[key], base, cast("list[Object]", value), order)
    elif isinstance(value, list) and key in shape.sets and isinstance(current, list):
        known = cast("list[Any]", current)
        original[key] = known + [one for one in cast("list[Any]", value) if one not in known]
    else:
        original[key] = _plain(value)


def _merge_list(
    keyed: Keyed, original: list[Object], patch: list[Object], order: list[Object] | None
) -> list[Object]:
    if any(one.get("$patch") == "replace" for one in patch):
        return [_plain(one) for one in patch if "$patch" not in one]
    merged = list(original)
    for change in patch:
        if keyed.key not in change:
            raise bad_request(f"map: {change} does not contain declared merge key: {keyed.key}")
        at = next((i for i, one in enumerate(merged) if one.get(keyed.key) == change[keyed.key]), None)
        if change.get("$patch") == "delete":
            merged = [one for one in merged if one.get(keyed.key) != change[keyed.key]]
        elif at is None:
            merged.append(_plain(change))
        else:
            merged[at] = _merge_map(keyed.item, merged[at], change) or {}
    wanted = order if order is not None else [one for one in patch if one.get("$patch") != "delete"]
    return _ordered(keyed.key, merged, wanted, original)


def _ordered(key: str, merged: list[Object], order: list[Object], original: list[Object]) -> list[Object]:
    """The patch's own order for the items it names, the rest woven in where the server had them."""
    wanted = [one.get(key) for one in order]
    had = [one.get(key) for one in original]
    named = sorted((one for one in merged if one[key] in wanted), key=lambda one: wanted.index(one[key]))
    others = sorted(
        (one for one in merged if one[key] not in wanted),
        key=lambda one: had.index(one[key]) if one[key] in had else len(had),
    )
    woven: list[Object] = []
    while named and others:
        left, right = named[0][key], others[0][key]
        first = left in had and right in had and had.index(left) < had.index(right)
        woven.append(named.pop(0) if first else others.pop(0))
    return woven + named + others


def _plain(value: Any) -> Any:
    """A copy without directives and without nulls, for what has no counterpart to merge with."""
    if isinstance(value, dict):
        return {
            key: _plain(part)
            for key, part in cast("Object", value).items()
            if part is not None and not key.startswith("$")
        }
    if isinstance(value, list):
        return [_plain(part) for part in cast("list[Any]", value) if not _is_removal(part)]
    return value


def _is_removal(part: Any) -> bool:
    return isinstance(part, dict) and cast("Object", part).get("$patch") == "delete"
