"""Who owns which fields of an object: `metadata.managedFields`, kept up to date by every write. Pure.

Source: Kubernetes "Server-Side Apply": field management, conflicts, and the managers of other operations.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

from isthmus.lab.apiserver.errors import RefusedError
from isthmus.lab.apiserver.fieldpaths import Path, Paths, from_fields, path_text, to_fields, with_parents
from isthmus.lab.apiserver.objects import Object, metadata
from isthmus.lab.apiserver.shapes import Shape
from isthmus.lab.apiserver.structured import compared, merged, paths_of, without

APPLY, UPDATE = "Apply", "Update"
_BEFORE_FIRST_APPLY = "before-first-apply"
_NOBODYS = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in (
            "creationTimestamp",
            "generation",
            "managedFields",
            "name",
            "namespace",
            "resourceVersion",
            "selfLink",
            "uid",
        )
    }
)


class Owner(NamedTuple):
    """One manager of fields. Appliers have no `api_version` here: one applier is one, whatever it applies."""

    operation: str
    name: str
    api_version: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text if self.operation == APPLY else f"{text} using {self.api_version}"


@dataclass(frozen=True, slots=True)
class Share:
    """What one manager owns, since when, and by which version of the kind."""

    paths: Paths
    time: str
    api_version: str

    def without(self, paths: Paths) -> "Share":
        """What is left of it when others have taken those paths, or they are gone."""
        return Share(self.paths - paths, self.time, self.api_version)


Shares: TypeAlias = Mapping[Owner, Share]


@dataclass(frozen=True, slots=True)
class Write:
    """One write as ownership sees it: who writes when, by which version, and to which part of the object."""

    manager: str
    api_version: str
    time: str
    subresource: str = ""
    has_status: bool = False

    def owner(self, operation: str) -> Owner:
        """The writer as an owner of fields."""
        return Owner(
            operation, self.manager, "" if operation == APPLY else self.api_version, self.subresource
        )

    def counted(self, paths: Paths) -> Paths:
        """Those of the paths that the write may own."""
        return frozenset(path for path in paths if path not in _NOBODYS and self._reaches(path))

    def _reaches(self, path: Path) -> bool:
        if self.subresource == "status":
            return path[0] in ("f:status", "f:metadata")
        return not (self.has_status and path[0] == "f:status")


def read_shares(object_: Object) -> Shares:
    """The shares that an object's metadata tells of; ValueError where they cannot be read."""
    shares: dict[Owner, Share] = {}
    entries: Any = metadata(object_).get("managedFields") or []
    for entry in cast("Iterable[Object]", entries):
        operation, version = entry.get("operation", ""), entry.get("apiVersion", "")
        if operation not in (APPLY, UPDATE):
            raise ValueError(f"no operation of a manager: {operation}")
        named = "" if operation == APPLY else version
        owner = Owner(operation, entry.get("manager", ""), named, entry.get("subresource", ""))
        paths = from_fields(entry.get("fieldsV1") or {})
        shares[owner] = Share(paths, entry.get("time") or "", version)
    return shares


def write_shares(shares: Shares) -> list[Object]:
    """The shares as `metadata.managedFields` lists them; empty ones are left out."""
    entries: list[Object] = []
    for owner, share in sorted(shares.items(), key=lambda one: (one[0].operation, one[1].time, one[0])):
        if not share.paths:
            continue
        entry: Object = {
            "manager": owner.name,
            "operation": owner.operation,
            "apiVersion": share.api_version,
            "time": share.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields(share.paths),
        }
        if owner.subresource:
            entry["subresource"] = owner.subresource
        entries.append(entry)
    return entries


def after_update(shape: Shape, write: Write, shares: Shares, old: Object, new: Object) -> Shares:
    """The shares after a write that is no apply: the writer owns what it changed, and nobody what is gone."""
    difference = compared(shape, old, new)
    changed, gone = write.counted(difference.set), difference.removed
    owner = write.owner(UPDATE)
    others = {
        one: share.without(gone if one == owner else gone | difference.set) for one, share in shares.items()
    }
    if changed:
        had = others[owner].paths if owner in others else frozenset[Path]()
        others[owner] = Share(had | changed, write.time, write.api_version)
    return others


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply leads to: the object, not yet defaulted or checked, and who owns what of it then."""

    object: Object
    shares: Shares


def apply(
    shape: Shape,
    write: Write,
    shares: Shares,
    live: Object,
    config: Object,
    *,
    force: bool,
    inherited: Paths = frozenset(),
) -> Applied:
    """Apply a configuration to the live object; 409 where it would change what others own, unless forced.

    `inherited` is what it may change whoever owns it.
    """
    owner = write.owner(APPLY)
    known = dict(shares) or _before_first_apply(shape, write, live)
    last = known.get(owner)
    paths = write.counted(paths_of(shape, config))
    time = last.time if last is not None and last.paths == paths else write.time
    known[owner] = Share(paths, time, write.api_version)
    result = merged(shape, live, config)
    if last is not None:
        owned = with_parents(path for share in known.values() for path in share.paths)
        result = without(shape, result, last.paths - owned)
    difference = compared(shape, live, result)
    taken = difference.set
    conflicts = [
        (one, path)
        for one, share in known.items()
        if one != owner
        for path in sorted((share.paths & taken) - inherited)
    ]
    if conflicts and not force:
        raise _conflict(conflicts)
    left = {
        one: share if one == owner else share.without(taken | difference.removed)
        for one, share in known.items()
    }
    return Applied(result, left)


def _before_first_apply(shape: Shape, write: Write, live: Object) -> dict[Owner, Share]:
    """What an object that nobody's ownership was kept of is taken to belong to."""
    paths = write.counted(paths_of(shape, live))
    owner = Owner(UPDATE, _BEFORE_FIRST_APPLY, write.api_version)
    return {owner: Share(paths, write.time, write.api_version)} if paths else {}


def _conflict(conflicts: list[tuple[Owner, Path]]) -> RefusedError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": path_text(path)}
        for owner, path in conflicts
    ]
    if len(conflicts) == 1:
        ((owner, path),) = conflicts
        text = f"Apply failed with 1 conflict: conflict with {owner}: {path_text(path)}"
    else:
        lines: list[str] = []
        for owner in sorted({one for one, _ in conflicts}, key=str):
            lines.append(f"conflicts with {owner}:")
            lines += [f"- {path_text(path)}" for one, path in conflicts if one == owner]
        text = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
    return RefusedError(409, "Conflict", text, {"causes": causes})
