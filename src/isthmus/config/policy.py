"""The kind Policy (policy.isthmus.dev/v1alpha1): its types, its CRD's source, and its fields' rules.

An unknown field is refused, not ignored: a misspelt condition must never make a rule match more than it says.
Expressions are plain text here; `policy.compiling` checks them.
"""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from isthmus.config.durations import Duration, parse_duration
from isthmus.config.errors import ConfigRefused, field_and_reason
from isthmus.config.store import ConfigKind
from isthmus.kube.decoding import Ref
from isthmus.kube.kinds import untyped

GROUP, VERSION, PLURAL, KIND = "policy.isthmus.dev", "v1alpha1", "policies", "Policy"

_Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
_Expression = Annotated[str, Meta(max_length=4096)]
_Message = Annotated[str, Meta(max_length=1024)]
_Status = Annotated[int, Meta(ge=400, le=599)]
_Most = Annotated[int, Meta(ge=0, le=1_000_000_000)]
_HeaderName = Annotated[str, Meta(pattern=r"^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$")]
_HeaderText = Annotated[str, Meta(max_length=4096, pattern=r"^[^\x00\r\n]*$")]
_LONGEST_WINDOW = Duration(days=31)
_UNTOUCHABLE = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "upgrade"})


PolicyRef: TypeAlias = Ref
"""A Policy's name within the mesh."""


class PolicyRefused(ConfigRefused):
    """A Policy that cannot come into force as it is: mend `field` and apply it again."""

    def __init__(self, ref: PolicyRef, field: str, reason: str) -> None:
        super().__init__(KIND, ref, field, reason)


class _Part(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """A mapping of the object: snake_case here is camelCase there."""


class Absent(Enum):
    """What a rule does when something that it reads is not there."""

    MATCH = "match"
    SKIP = "skip"


class ListMode(Enum):
    """ALLOW denies what is not listed, DENY what is."""

    ALLOW = "allow"
    DENY = "deny"


class ListKind(Enum):
    """How entries are compared: whole strings, address ranges, or RE2 expressions for the whole value."""

    STRING = "string"
    CIDR = "cidr"
    REGEX = "regex"


class Algorithm(Enum):
    """FIXED windows begin with the first use and end together; a ROLLING one never allows more than `max` in
    any interval as long as the window.
    """

    FIXED = "fixed"
    ROLLING = "rolling"


class Selector(_Part, frozen=True):
    """Destinations with all of `match_labels`; `namespaces` only in the root namespace (empty: all)."""

    match_labels: dict[str, str] = {}
    namespaces: tuple[_Name, ...] = ()


class DenyAction(_Part, frozen=True):
    """Refuse the request."""

    status: _Status = 403
    message: _Message = ""


class ListAction(_Part, frozen=True):
    """Refuse by a list: inline `entries`, or the lines of `url`, read again every `refresh`."""

    value: _Expression
    mode: ListMode = ListMode.DENY
    kind: ListKind = ListKind.STRING
    entries: Annotated[tuple[Annotated[str, Meta(max_length=1024)], ...], Meta(max_length=10_000)] = ()
    url: Annotated[str, Meta(max_length=2048)] = ""
    refresh: Duration = Duration(seconds=60)
    timeout: Duration = Duration(seconds=5)
    status: _Status = 403
    message: _Message = ""


class QuotaAction(_Part, frozen=True):
    """Refuse what exceeds `max` in `window`, counted per value of the expression `key` (empty: all alike)."""

    max: _Most
    window: Duration
    key: _Expression = ""
    algorithm: Algorithm = Algorithm.FIXED
    status: _Status = 429
    message: _Message = ""


class HeaderValue(_Part, frozen=True):
    """A header with a fixed `value`, or with that of an `expression`."""

    name: _HeaderName
    value: _HeaderText = ""
    expression: _Expression = ""


class RequestHeaders(_Part, frozen=True):
    """Changes of the request, as its destination sees it."""

    add: tuple[HeaderValue, ...] = ()
    set: tuple[HeaderValue, ...] = ()
    remove: tuple[_HeaderName, ...] = ()


class ResponseHeaders(_Part, frozen=True):
    """Changes of the response, as its client sees it."""

    add: tuple[HeaderValue, ...] = ()


class HeadersAction(_Part, frozen=True):
    """Change headers of what is allowed."""

    request: RequestHeaders = RequestHeaders()
    response: ResponseHeaders = ResponseHeaders()


class Rule(_Part, frozen=True):
    """One rule: `when` its condition holds (empty: always), its one action is taken.

    `absent` unset leaves it to the action. With `dry_run` it is counted and logged, and does nothing.
    """

    name: _Name
    when: _Expression = ""
    absent: Absent | None = None
    dry_run: bool = False
    deny: DenyAction | None = None
    list: ListAction | None = None
    quota: QuotaAction | None = None
    headers: HeadersAction | None = None


class DescriptorEntry(_Part, frozen=True):
    """One entry of a rate limit descriptor; without `value` each value is counted for itself."""

    key: Annotated[str, Meta(max_length=256)]
    value: Annotated[str, Meta(max_length=1024)] = ""


class Limit(_Part, frozen=True):
    """A limit for Envoy's rate limit protocol: of descriptors of `domain` with just these entries."""

    name: _Name
    domain: Annotated[str, Meta(min_length=1, max_length=256)]
    entries: Annotated[tuple[DescriptorEntry, ...], Meta(min_length=1, max_length=16)]
    max: _Most
    window: Duration
    algorithm: Algorithm = Algorithm.FIXED
    dry_run: bool = False


class PolicySpec(_Part, frozen=True):
    """Rules in their order, for the destinations that `selector` selects."""

    selector: Selector = Selector()
    rules: Annotated[tuple[Rule, ...], Meta(max_length=200)] = ()
    limits: Annotated[tuple[Limit, ...], Meta(max_length=200)] = ()


class PolicyStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What became of the object: `reason` names the field where its latest version is not in force."""

    accepted: bool = False
    observed_generation: int = 0
    reason: str = ""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One object, decoded and checked as far as types go."""

    ref: PolicyRef
    spec: PolicySpec
    generation: int = 0
    status: PolicyStatus | None = None


def policy_ref(found: Mapping[str, Any]) -> PolicyRef:
    """The name of an object, whatever else is wrong with it; a file may leave its namespace out."""
    metadata: object = found.get("metadata")
    fields: dict[str, Any] = metadata if isinstance(metadata, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    return PolicyRef(str(fields.get("namespace") or "default"), str(fields.get("name") or ""))


def read_policy(found: Mapping[str, Any]) -> Policy:
    """Decode one object. Raises PolicyRefused, naming the field.

    One without `apiVersion` and `kind` is of this kind: an API server may leave them out of a list's items.
    """
    ref = policy_ref(found)
    try:
        for field, wanted in (("apiVersion", f"{GROUP}/{VERSION}"), ("kind", KIND)):
            if found.get(field, wanted) != wanted:
                raise PolicyRefused(ref, field, f"must be {wanted}")
        if not ref.name:
            raise PolicyRefused(ref, "metadata.name", "must be set")
        spec = msgspec.convert(found.get("spec", {}), PolicySpec, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise PolicyRefused(ref, *field_and_reason(error)) from None
    for field, reason in _faults(spec):
        raise PolicyRefused(ref, field, reason)
    try:
        status = msgspec.convert(found.get("status"), PolicyStatus | None, strict=False)
    except msgspec.ValidationError:
        status = None  # Somebody else's: it is written anew.
    generation = found["metadata"].get("generation", 0)
    return Policy(
        ref=ref, spec=spec, generation=generation if isinstance(generation, int) else 0, status=status
    )


def _decode(wanted: type, value: Any) -> Any:
    if wanted is not Duration:
        raise NotImplementedError(wanted)
    return parse_duration(str(value))


def _faults(spec: PolicySpec) -> Iterator[tuple[str, str]]:
    """Rules that types cannot say."""
    names = set[str]()
    for index, one in enumerate((*spec.rules, *spec.limits)):
        within = index < len(spec.rules)
        path = f"spec.rules[{index}]" if within else f"spec.limits[{index - len(spec.rules)}]"
        if one.name in names:
            yield f"{path}.name", f"`{one.name}` is used twice; every rule and limit needs its own"
        names.add(one.name)
        if one.name.endswith("\n"):  # A pattern's $ lets it pass.
            yield f"{path}.name", "must not end with a line's end"
        if isinstance(one, Limit):
            yield from _window_faults(f"{path}.window", one.window)
        else:
            yield from _rule_faults(path, one)


def _rule_faults(path: str, rule: Rule) -> Iterator[tuple[str, str]]:
    actions = [rule.deny, rule.list, rule.quota, rule.headers]
    if sum(action is not None for action in actions) != 1:
        yield path, "must have one action: deny, list, quota or headers"
    if rule.list is not None:
        yield from _list_faults(f"{path}.list", rule.list)
    if rule.quota is not None:
        yield from _window_faults(f"{path}.quota.window", rule.quota.window)
    if rule.headers is not None:
        yield from _header_faults(f"{path}.headers", rule.headers)


def _list_faults(path: str, action: ListAction) -> Iterator[tuple[str, str]]:
    if action.entries and action.url:
        yield path, "has entries and a url; keep one of them"
    if not action.entries and not action.url and action.mode is ListMode.DENY:
        yield path, "has neither entries nor a url"
    if action.url and not re.fullmatch(r"https?://[^\s/?#@]+([/?][^\s#]*)?", action.url):
        yield f"{path}.url", "must be an http or https URL without credentials"
    if action.refresh < Duration(seconds=1):
        yield f"{path}.refresh", "must be 1s or longer"
    if not Duration() < action.timeout <= Duration(seconds=60):
        yield f"{path}.timeout", "must be longer than 0s, at most 1m"


def _window_faults(path: str, window: Duration) -> Iterator[tuple[str, str]]:
    if not Duration(seconds=1) <= window <= _LONGEST_WINDOW:
        yield path, "must be from 1s to 744h"


def _header_faults(path: str, action: HeadersAction) -> Iterator[tuple[str, str]]:
    named = [
        *((f"{path}.request.add[{i}]", one) for i, one in enumerate(action.request.add)),
        *((f"{path}.request.set[{i}]", one) for i, one in enumerate(action.request.set)),
        *((f"{path}.response.add[{i}]", one) for i, one in enumerate(action.response.add)),
    ]
    for field, one in named:
        if bool(one.value) == bool(one.expression):
            yield field, "must have a value or an expression, one of them"
        if "\n" in one.name or "\n" in one.value:
            yield field, "must not hold line ends"
        if one.name in _UNTOUCHABLE:
            yield f"{field}.name", f"`{one.name}` is Envoy's own to set"
    for index, name in enumerate(action.request.remove):
        if name.rstrip("\n") in _UNTOUCHABLE or "\n" in name:
            yield f"{path}.request.remove[{index}]", f"`{name}` is Envoy's own to set"
    if not named and not action.request.remove:
        yield path, "changes nothing"


POLICY = ConfigKind(untyped(GROUP, VERSION, PLURAL, KIND), lambda found: read_policy(found).spec)
"""Policies as those see them who only need to know which there are: by name, without what became of them."""
