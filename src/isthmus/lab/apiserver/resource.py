"""What a kind is to this server: its address, its names, and what may be done with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from isthmus.lab.apiserver.definition import Definition
from isthmus.lab.apiserver.errors import Cause

STORED_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_STATUS_VERBS = ("get", "patch", "update")


@dataclass(frozen=True, slots=True)
class Subresource:
    """One path below an object, such as `status`: the kind that it speaks, and its verbs."""

    name: str
    verbs: tuple[str, ...] = _STATUS_VERBS
    group: str | None = None
    version: str | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A kind whose objects are another's in another form."""

    stored: "Resource"
    show: Callable[[dict[str, Any]], dict[str, Any]]
    """From the form that is stored to the one that is shown, without kind and apiVersion."""
    read: Callable[[dict[str, Any]], dict[str, Any]]
    """And back."""
    validate_new: Callable[[dict[str, Any]], Iterator[Cause]]
    """The faults of a stored form that is new, beside those of its kind."""
    field: Callable[[str], str]
    """The stored name of a path that a field selector names."""


STATUS = Subresource("status")
SCALE = Subresource("scale", group="autoscaling", version="v1", kind="Scale")


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind at one version: its address, its names, and what may be done with it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    verbs: tuple[str, ...] = STORED_VERBS
    fields: tuple[str, ...] = ()
    """Paths that field selectors may name, besides `metadata.name` and `metadata.namespace`."""
    counts_generations: bool = False
    created_by_update: bool = False
    """Whether PUT to a name that does not exist creates it (Kubernetes: AllowCreateOnUpdate)."""
    warnings: tuple[str, ...] = ()
    """What every answer about it warns of."""
    unconditional: bool = True
    """Whether PUT may leave the version out (Kubernetes: AllowUnconditionalUpdate)."""
    shown_when_deleted: bool = False
    """Whether a delete answers with the object, not with a Status (Kubernetes: ReturnDeletedObject)."""
    definition: Definition | None = field(default=None, compare=False)
    """What a custom kind's definition says further; None for the kinds of this table."""
    view: View | None = field(default=None, compare=False)
    """Whose objects it shows in another form; None where it has its own."""

    @property
    def group_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The singular name, as discovery gives it."""
        return self.definition.singular if self.definition else self.kind.lower()

    @property
    def list_kind(self) -> str:
        """The `kind` of its lists."""
        return self.definition.list_kind if self.definition else f"{self.kind}List"

    @property
    def as_stored(self) -> "Resource":
        """The kind at the version in which its objects are stored."""
        if self.view is not None:
            return self.view.stored
        if self.definition is None or self.definition.storage_version == self.version:
            return self
        return replace(self, version=self.definition.storage_version)

    @property
    def place(self) -> tuple[str, str]:
        """Under which name its objects are kept, whatever their version."""
        kept = self.view.stored if self.view is not None else self
        return kept.group, kept.plural

    @property
    def virtual(self) -> bool:
        """Whether it is only answered, never stored (reviews)."""
        return "get" not in self.verbs

    def subresource(self, name: str) -> Subresource | None:
        """The subresource of that name, if the kind has it."""
        return next((one for one in self.subresources if one.name == name), None)
