"""What a request asks for, read off its method, path and query. Pure.

Source: Kubernetes "API concepts" and the request attributes of "Authorization".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from isthmus.lab.apiserver.authn import User
from isthmus.lab.apiserver.errors import bad_request
from isthmus.lab.apiserver.rbac import Attributes
from isthmus.lab.apiserver.resource import Resource
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
    if verb == "get" and not name:
        verb = "watch" if wants_watch(query) else "list"
        name = exact_name(query.get("fieldSelector", "")) or ""
    elif verb == "delete" and not name:
        verb = "deletecollection"
    return Attributes(verb, group, version, plural, subresource, namespace, name)
