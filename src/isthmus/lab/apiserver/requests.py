"""What a request asks for, read off its method, path and query. Pure.

Source: Kubernetes "API concepts" and the request attributes of "Authorization".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from isthmus.lab.apiserver.authn import User
from isthmus.lab.apiserver.errors import RefusedError, bad_request
from isthmus.lab.apiserver.kinds import Resource
from isthmus.lab.apiserver.rbac import Attributes
from isthmus.lab.apiserver.selectors import exact_name
from isthmus.lab.apiserver.store import Key

_VERBS = {
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "GET": "get",
    "HEAD": "get",
}
_LONGEST_MANAGER = 128
_TRUE = ("true", "1", "True", "t", "T", "TRUE")


@dataclass(frozen=True, slots=True)
class Target:
    """What is written to, by whom, and whether for real. `name` is empty for create."""

    resource: Resource
    namespace: str
    name: str
    user: User
    subresource: str = ""
    dry_run: bool = False
    strict: bool = False
    """Whether unknown fields are refused (`fieldValidation=Strict`)."""
    manager: str = ""
    """Who is recorded as the owner of what is written; nobody where it is empty."""
    through: str = ""
    """The subresource by which the whole object is written, recorded beside the manager."""

    @property
    def key(self) -> Key:
        """The object's place in the store."""
        return Key(self.namespace, self.name)


def wants_watch(query: Mapping[str, str]) -> bool:
    """Whether the query asks for a watch."""
    return query.get("watch") in _TRUE


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean parameter, false where it is missing."""
    return query.get(name) in _TRUE


def number(query: Mapping[str, str], name: str) -> int | None:
    """A whole number in the query, None where it is missing; 400 where it is none."""
    text = query.get(name)
    if not text:
        return None
    try:
        value = int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    return value


def resource_version(query: Mapping[str, str]) -> int | None:
    """The `resourceVersion` asked for, None where it is missing; 400 where it is no number."""
    text = query.get("resourceVersion", "")
    if not text:
        return None
    if not text.isdecimal():
        message = (
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
        raise bad_request(message)
    return int(text)


def dry_run(query: Mapping[str, str]) -> bool:
    """Whether nothing is to be stored; 422 for anything but `All`."""
    match query.get("dryRun"):
        case None | "":
            return False
        case "All":
            return True
        case other:
            text = f'dryRun: Unsupported value: "{other}": supported values: "All"'
            raise RefusedError(422, "Invalid", f'" " is invalid: {text}')


def field_validation(query: Mapping[str, str]) -> str:
    """What to do about unknown fields: Ignore, Warn (the default) or Strict; 422 for anything else."""
    chosen = query.get("fieldValidation") or "Warn"
    if chosen not in ("Ignore", "Warn", "Strict"):
        known = '"Ignore", "Strict", "Warn"'
        text = f'fieldValidation: Unsupported value: "{chosen}": supported values: {known}'
        raise RefusedError(422, "Invalid", f'" " is invalid: {text}')
    return chosen


def field_manager(query: Mapping[str, str], user_agent: str) -> str:
    """Who owns what the request writes: as the query says, or else the first part of the User-Agent."""
    named = query.get("fieldManager", "")
    if len(named) > _LONGEST_MANAGER:
        text = f"fieldManager: Too long: may not be more than {_LONGEST_MANAGER} bytes"
        raise RefusedError(422, "Invalid", f'PatchOptions.meta.k8s.io "" is invalid: {text}')
    return named or user_agent.partition("/")[0][:_LONGEST_MANAGER]


def read_attributes(method: str, path: str, query: Mapping[str, str]) -> Attributes:
    """What is asked, for authorization and for dispatch alike; `path` is set where it is no resource."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            return Attributes(method.lower(), path=path)
    namespace, name, subresource = "", "", ""
    match rest:
        case ["namespaces", namespace, plural, *below] if plural not in ("status", "finalize"):
            pass
        case ["namespaces", namespace, *below]:
            plural, below = "namespaces", [namespace, *below]
        case [plural, *below]:
            pass
        case _:
            raise AssertionError("rest is not empty")
    if below:
        name, *deeper = below
        subresource = deeper[0] if deeper else ""
    verb = _VERBS.get(method, method.lower())
    if verb == "get" and wants_watch(query) and not subresource:
        verb = "watch"
        name = name or exact_name(query.get("fieldSelector", "")) or ""
    elif verb == "get" and not name:
        verb = "list"
        name = exact_name(query.get("fieldSelector", "")) or ""
    elif verb == "delete" and not name:
        verb = "deletecollection"
    return Attributes(verb, group, version, plural, subresource, namespace, name)
