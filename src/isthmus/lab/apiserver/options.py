"""What a request's query says beside the object: options of writes, of lists, of Tables. Pure.

Source of rules and texts: k8s.io/apimachinery, `ValidateCreateOptions` and its siblings,
`ValidateListOptions`, `ValidateTableOptions`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isthmus.lab.apiserver.errors import (
    Cause,
    bad_request,
    forbidden_value,
    invalid,
    invalid_value,
    too_long,
    unsupported,
)
from isthmus.lab.apiserver.requests import flag

_LONGEST_MANAGER = 128
_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_NOT_OLDER, _EXACT = "NotOlderThan", "Exact"
_KINDS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """`manager` is who owns what is written; `validation` what to do about unknown fields."""

    manager: str = ""
    dry_run: bool = False
    validation: str = "Warn"


def refuse_options(kind: str, causes: Sequence[Cause]) -> None:
    """422 with these causes, if there are any; `kind` is that of the options."""
    if causes:
        raise invalid("meta.k8s.io", kind, "", causes)


def read_write_options(verb: str, query: Mapping[str, str], user_agent: str) -> WriteOptions:
    """The options of a create, update or patch; of any other verb, those that apply to nothing."""
    if verb not in _KINDS:
        return WriteOptions(user_agent.partition("/")[0][:_LONGEST_MANAGER])
    manager, validation = query.get("fieldManager", ""), query.get("fieldValidation", "")
    causes: list[Cause] = []
    if len(manager.encode()) > _LONGEST_MANAGER:
        causes.append(too_long("fieldManager", _LONGEST_MANAGER))
    for at, character in enumerate(manager):
        if not character.isprintable():
            text = f"invalid character U+{ord(character):04X} (at position {at})"
            causes.append(invalid_value("fieldManager", manager, text))
    dry_run = query.get("dryRun")
    causes += dry_run_faults([] if dry_run is None else [dry_run])
    if validation not in _VALIDATIONS:
        causes.append(unsupported("fieldValidation", validation, _VALIDATIONS))
    refuse_options(_KINDS[verb], causes)
    return WriteOptions(
        manager or user_agent.partition("/")[0][:_LONGEST_MANAGER], dry_run == "All", validation or "Warn"
    )


def dry_run_faults(given: Sequence[object]) -> list[Cause]:
    """The faults of a `dryRun`."""
    return [] if all(one == "All" for one in given) else [unsupported("dryRun", list(given), ("All",))]


def streams_initial_events(query: Mapping[str, str]) -> bool:
    """Whether a watch begins with all that is there: as asked, or by default from no version or 0."""
    if "sendInitialEvents" in query:
        return flag(query, "sendInitialEvents")
    return not query.get("resourceVersionMatch") and query.get("resourceVersion", "") in ("", "0")


def check_list_options(query: Mapping[str, str]) -> None:
    """422 unless the options of a list make sense together."""
    match, field = query.get("resourceVersionMatch", ""), "resourceVersionMatch"
    causes: list[Cause] = []
    if match:
        if not query.get("resourceVersion"):
            causes.append(forbidden_value(field, f"{field} is forbidden unless resourceVersion is provided"))
        if query.get("continue"):
            causes.append(forbidden_value(field, f"{field} is forbidden when continue is provided"))
        if match not in (_EXACT, _NOT_OLDER):
            causes.append(unsupported(field, match, (_EXACT, _NOT_OLDER, "")))
        if match == _EXACT and query.get("resourceVersion") == "0":
            causes.append(forbidden_value(field, f'{field} "exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in query:
        causes.append(forbidden_value("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    refuse_options("ListOptions", causes)


def check_watch_options(query: Mapping[str, str]) -> None:
    """422 unless the options of a watch make sense together."""
    match, field = query.get("resourceVersionMatch", ""), "resourceVersionMatch"
    causes: list[Cause] = []
    streamed = "sendInitialEvents" in query
    if streamed and match != _NOT_OLDER:
        text = f"sendInitialEvents requires setting {field} to {_NOT_OLDER}"
        causes.append(forbidden_value(field, text))
    if match:
        if not streamed:
            text = f"{field} is forbidden for watch unless sendInitialEvents is provided"
            causes.append(forbidden_value(field, text))
        if match != _NOT_OLDER:
            causes.append(unsupported(field, match, (_NOT_OLDER,)))
        if query.get("continue"):
            causes.append(forbidden_value(field, f"{field} is forbidden when continue is provided"))
    refuse_options("ListOptions", causes)


def included_object(query: Mapping[str, str]) -> str:
    """How much of each object a Table holds; 400 where that is unknown."""
    chosen = query.get("includeObject", "")
    if chosen not in ("", "Metadata", "Object", "None"):
        fault = invalid_value("includeObject", chosen, "must be 'Metadata', 'Object', 'None', or empty")
        raise bad_request(f"Unable to convert to Table as requested: {fault}")
    return chosen
