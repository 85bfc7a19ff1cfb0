"""Rules, compiled: what the engine runs. Frozen; made from the object's types by `compiling`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from isthmus.config.policy import Absent, ListAction, ListKind, ListMode, PolicyRef, Selector
from isthmus.config.policy_context import Destination
from isthmus.config.policy_scope import selects
from isthmus.policy.expressions import Expression
from isthmus.policy.lists import Entries
from isthmus.policy.quotas import Bucket


class Refusing(NamedTuple):
    """How a client is told: an HTTP status and a text."""

    status: int
    message: str


class ListSource(NamedTuple):
    """A list that is fetched; rules that want the same one share it. Times in seconds."""

    url: str
    kind: ListKind
    refresh: float
    timeout: float


@dataclass(frozen=True, slots=True)
class Deny:
    """Refuse."""

    refusing: Refusing


@dataclass(frozen=True, slots=True)
class CheckList:
    """Refuse by a list: `entries` where they are inline, else those of `source`."""

    value: Expression
    mode: ListMode
    entries: Entries | None
    source: ListSource | None
    refusing: Refusing


@dataclass(frozen=True, slots=True)
class TakeQuota:
    """Refuse what exceeds a quota. `key` None: all requests are counted alike."""

    key: Expression | None
    bucket: Bucket
    refusing: Refusing


@dataclass(frozen=True, slots=True)
class HeaderEdit:
    """One header's new value: a fixed one, or an expression's."""

    name: str
    value: str | Expression


@dataclass(frozen=True, slots=True)
class ChangeHeaders:
    """Change headers of what is allowed."""

    add: tuple[HeaderEdit, ...]
    set: tuple[HeaderEdit, ...]
    remove: tuple[str, ...]
    add_to_response: tuple[HeaderEdit, ...]


Action: TypeAlias = Deny | CheckList | TakeQuota | ChangeHeaders


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRule:
    """One rule; `label` is NAMESPACE/NAME/RULE, as everybody sees it. `when` None: always.

    `about_requests`: it says nothing of a connection without requests.
    """

    label: str
    when: Expression | None
    absent: Absent | None
    dry_run: bool
    about_requests: bool
    action: Action

    def expressions(self) -> tuple[Expression, ...]:
        """All of its expressions."""
        match self.action:
            case CheckList(value=value):
                own: tuple[Expression | str | None, ...] = (value,)
            case TakeQuota(key=key):
                own = (key,)
            case ChangeHeaders(add=add, set=put, add_to_response=response):
                own = tuple(edit.value for edit in (*add, *put, *response))
            case Deny():
                own = ()
        return tuple(one for one in (self.when, *own) if isinstance(one, Expression))


@dataclass(frozen=True, slots=True, eq=False)
class CompiledLimit:
    """A limit for descriptors of `domain`: keys with their values, "" for each value by itself."""

    label: str
    domain: str
    entries: tuple[tuple[str, str], ...]
    bucket: Bucket
    dry_run: bool

    def key_of(self, entries: Mapping[str, str]) -> str | None:
        """What a descriptor is counted under, None where this limit is not about it."""
        if len(entries) != len(self.entries):
            return None
        for key, wanted in self.entries:
            value = entries.get(key)
            if value is None or (wanted and value != wanted):
                return None
        return "\0".join(entries[key] for key, wanted in self.entries if not wanted)


@dataclass(frozen=True, slots=True, eq=False)
class CompiledPolicy:
    """One Policy. `mesh_wide`: it is in the root namespace, and selects in all namespaces."""

    ref: PolicyRef
    selector: Selector
    mesh_wide: bool
    rules: tuple[CompiledRule, ...]
    limits: tuple[CompiledLimit, ...]

    def selects(self, destination: Destination) -> bool:
        """Whether its rules may apply to that destination."""
        return selects(self.selector, self.ref.namespace, destination, mesh_wide=self.mesh_wide)


def list_source(action: ListAction) -> ListSource:
    """The list that an action with a URL wants."""
    return ListSource(action.url, action.kind, action.refresh.total_seconds(), action.timeout.total_seconds())
