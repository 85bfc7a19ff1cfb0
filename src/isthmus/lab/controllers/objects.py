"""Reading and comparing whole Kubernetes objects, as the API server has them. Pure, but for new names."""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

Object = dict[str, Any]
"""One object, decoded; never changed in place once it is in a cache."""


_NOTHING: Object = {}
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Key(NamedTuple):
    """An object's place within its kind; `namespace` is "" for cluster-wide kinds."""

    namespace: str
    name: str


def key_of(item: Object) -> Key:
    """Where the object is."""
    metadata = item["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


def uid_of(item: Object) -> str:
    """Its identity over time; "" for an object that no server has stored."""
    return item["metadata"].get("uid", "")


def section(item: Object, *path: str) -> Object:
    """The object at a path of field names; empty where there is none, or null."""
    for name in path:
        item = item.get(name) or _NOTHING
    return item


def entries(item: Object, *path: str) -> list[Object]:
    """The list at a path of field names; empty where there is none, or null."""
    return section(item, *path[:-1]).get(path[-1]) or []


def labels_of(item: Object) -> Mapping[str, str]:
    """Its labels, never None."""
    return section(item, "metadata", "labels")


def is_terminating(item: Object) -> bool:
    """Whether its deletion has begun."""
    return bool(item["metadata"].get("deletionTimestamp"))


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (`matchLabels`, `matchExpressions`) selects these labels.

    The empty selector selects everything (LabelSelector, meta/v1).
    """
    if any(labels.get(name) != value for name, value in section(selector, "matchLabels").items()):
        return False
    return all(_meets(each, labels) for each in entries(selector, "matchExpressions"))


def _meets(requirement: Object, labels: Mapping[str, str]) -> bool:
    present, values = requirement["key"] in labels, requirement.get("values", ())
    value = labels.get(requirement["key"])
    match requirement["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return present
        case _:
            return not present


def controller_of(item: Object) -> Object | None:
    """The one owner reference with `controller: true`, or None."""
    for reference in entries(item, "metadata", "ownerReferences"):
        if reference.get("controller"):
            return reference
    return None


def is_controlled_by(item: Object, owner: Object) -> bool:
    """Whether `owner` is this object's controller, by uid."""
    reference = controller_of(item)
    return reference is not None and reference["uid"] == uid_of(owner)


def owner_reference(owner: Object, api_version: str, kind: str) -> Object:
    """The reference that makes `owner` the controller of what carries it."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def condition_of(item: Object, kind: str) -> Object | None:
    """The status condition of that type, or None."""
    for condition in entries(item, "status", "conditions"):
        if condition["type"] == kind:
            return condition
    return None


def is_ready(pod: Object) -> bool:
    """Whether the Pod's Ready condition is True."""
    condition = condition_of(pod, "Ready")
    return condition is not None and condition["status"] == "True"


def is_finished(pod: Object) -> bool:
    """Whether the Pod ran to its end and holds no address any more."""
    return section(pod, "status").get("phase") in ("Succeeded", "Failed")


def digest(value: Any) -> str:
    """Ten characters fit for a label or a name, equal for equal JSON values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def merge_conditions(old: Sequence[Object], new: Sequence[Object]) -> list[Object]:
    """Conditions with their times: `lastTransitionTime` moves only when a condition's status does."""
    before = {condition["type"]: condition for condition in old}
    merged: list[Object] = []
    for condition in new:
        past = before.get(condition["type"])
        if past is not None and all(past.get(field) == value for field, value in condition.items()):
            merged.append(past)
            continue
        now = timestamp()
        kept = past["lastTransitionTime"] if past and past["status"] == condition["status"] else now
        merged.append({**condition, "lastUpdateTime": now, "lastTransitionTime": kept})
    return merged


def timestamp() -> str:
    """Now, as Kubernetes writes a time: UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(text: str) -> float:
    """Seconds since a time that Kubernetes wrote."""
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()


def name_below(owner: str) -> str:
    """A new name for a pod of `owner`: five random letters behind its name, none that make words."""
    return f"{owner}-{''.join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))}"
