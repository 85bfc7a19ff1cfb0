"""How each part of an object is owned and merged: as a whole, member by member, or item by item.

Source: the `x-kubernetes-list-type`, `-list-map-keys` and `-map-type` marks of Kubernetes 1.36's schemas,
repeated in the tables here; what is in no table follows from the field's type.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

from isthmus.lab.apiserver.schema import Field, fields_of, schema


@dataclass(frozen=True, slots=True)
class Whole:
    """A value with one owner: a plain one, or an atomic list or map."""


@dataclass(frozen=True, slots=True)
class Granular:
    """A map whose members have owners of their own; `member` gives a member's shape, None for no such field.

    `declared`: the members are the fields of a type, not the entries of a dictionary.
    """

    member: Callable[[str], "Shape | None"]
    declared: bool = True


@dataclass(frozen=True, slots=True)
class Keyed:
    """A list whose items are told apart by the values of some of their fields."""

    keys: tuple[str, ...]
    item: "Shape"
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What a key's value is where an item leaves it out."""


@dataclass(frozen=True, slots=True)
class Distinct:
    """A list of plain values, none of them twice (list type `set`)."""


Shape: TypeAlias = Whole | Granular | Keyed | Distinct
WHOLE = Whole()

_ATOMIC = frozenset(
    (
        "ConfigMapKeySelector",
        "FileKeySelector",
        "LabelSelector",
        "LocalObjectReference",
        "NodeSelector",
        "NodeSelectorTerm",
        "ObjectFieldSelector",
        "ObjectReference",
        "OwnerReference",
        "ResourceFieldSelector",
        "RoleRef",
        "SecretKeySelector",
        "Subject",
        "TypedLocalObjectReference",
    )
)
_ATOMIC_MAPS = frozenset({("PodSpec", "nodeSelector"), ("ServiceSpec", "selector")})
_SETS = frozenset({("ObjectMeta", "finalizers"), ("NodeSpec", "podCIDRs")})
_PROTOCOL = {"protocol": "TCP"}
_CONTAINER_LISTS = {
    "ports": ("containerPort", "protocol"),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
}
_KEYS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Container": _CONTAINER_LISTS,
    "EphemeralContainer": _CONTAINER_LISTS,
    "ObjectMeta": {"ownerReferences": ("uid",)},
    "PodSpec": {
        "containers": ("name",),
        "initContainers": ("name",),
        "ephemeralContainers": ("name",),
        "volumes": ("name",),
        "imagePullSecrets": ("name",),
        "hostAliases": ("ip",),
        "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
        "schedulingGates": ("name",),
        "resourceClaims": ("name",),
    },
    "PodStatus": {
        "conditions": ("type",),
        "podIPs": ("ip",),
        "hostIPs": ("ip",),
        "resourceClaimStatuses": ("name",),
    },
    "ResourceRequirements": {"claims": ("name",)},
    "ServiceAccount": {"secrets": ("name",)},
    "ServiceSpec": {"ports": ("port", "protocol")},
    "NodeStatus": {"conditions": ("type",), "addresses": ("type",)},
}
_CONDITIONED = (
    "CustomResourceDefinitionStatus",
    "DeploymentStatus",
    "NamespaceStatus",
    "PodDisruptionBudgetStatus",
    "ReplicaSetStatus",
    "ServiceCIDRStatus",
    "ServiceStatus",
)


def list_keys(message: str, name: str) -> tuple[str, ...]:
    """The fields that tell a list's items apart, none for any other list."""
    if name == "conditions" and message in _CONDITIONED:
        return ("type",)
    return _KEYS.get(message, {}).get(name, ())


def is_set(message: str, name: str) -> bool:
    """Whether that field is a list of distinct values."""
    return (message, name) in _SETS


def is_atomic(message: str, name: str) -> bool:
    """Whether that field, a message or a map, is owned as a whole."""
    return (message, name) in _ATOMIC_MAPS or fields_of(message)[name].type in _ATOMIC


@cache
def shape_of(message: str) -> Shape:
    """The shape of a message; of an unknown one, that of any JSON: maps by member, lists as a whole."""
    if message not in schema():
        return ANY
    known = fields_of(message)
    typed = message not in ("ObjectMeta",) and "metadata" in known

    def member(name: str) -> Shape | None:
        if name in known:
            return _field_shape(message, known[name])
        return WHOLE if typed and name in ("kind", "apiVersion") else None

    return Granular(member)


@cache
def _field_shape(message: str, field_: Field) -> Shape:
    match field_.shape:
        case "[]":
            keys = list_keys(message, field_.name)
            if keys:
                item = WHOLE if field_.type in _UNKEYED else shape_of(field_.type)
                return Keyed(keys, item, _PROTOCOL if "protocol" in keys else {})
            return Distinct() if is_set(message, field_.name) else WHOLE
        case "{}":
            if is_atomic(message, field_.name):
                return WHOLE
            entry = shape_of(field_.type) if field_.type in schema() else WHOLE
            return Granular(lambda _: entry, declared=False)
        case _:
            if field_.type == "f":
                return ANY
            atomic = field_.type not in schema() or is_atomic(message, field_.name)
            return WHOLE if atomic else shape_of(field_.type)


_UNKEYED = frozenset({"LocalObjectReference", "ObjectReference", "OwnerReference"})
"""Messages that are atomic even where they are items of a keyed list."""


class _AnyShape:
    """The member's shape of a value that no schema describes."""

    def __call__(self, _: str) -> Shape:
        return ANY


ANY = Granular(_AnyShape(), declared=False)
