"""Acting as somebody else: the headers that ask for it, and the rights that it takes. Pure.

Source: Kubernetes "User impersonation", and KEP-5284, constrained impersonation, which is on in 1.36: rights
to act as some sort of user in one sort of request come first, the old right to `impersonate` last.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote

from multidict import CIMultiDict, CIMultiDictProxy

from isthmus.lab.apiserver.authn import AUTHENTICATED, User
from isthmus.lab.apiserver.errors import bad_request
from isthmus.lab.apiserver.rbac import Attributes

_EXTRA = "impersonate-extra-"
_ACCOUNT, _NODE = "system:serviceaccount:", "system:node:"
_AUTHENTICATION = "authentication.k8s.io"
_NODE_OF_TOKEN = "authentication.kubernetes.io/node-name"  # noqa: S105 - a key, no secret


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to act as a user: all of these rights are needed, the first of them first."""

    rights: tuple[Attributes, ...]
    user: User


def wanted_user(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> User | None:
    """Whom the headers name, as they say it; None where they name nobody, 400 where they are incomplete."""
    name = headers.get("Impersonate-User", "")
    groups = tuple(headers.getall("Impersonate-Group", ()))
    uid = headers.get("Impersonate-Uid", "")
    extra: dict[str, list[str]] = {}
    for header, value in headers.items():
        if header.lower().startswith(_EXTRA):
            extra.setdefault(unquote(header[len(_EXTRA) :].lower()), []).append(value)
    if not name and (groups or uid or extra):
        raise bad_request("requested groups, a uid or extra values without impersonating a user name")
    return User(name, groups, uid, extra) if name else None


def impersonation_modes(wanted: User, requestor: User, asked: Attributes) -> Iterator[Mode]:
    """The ways in which the requestor may ask that as the wanted user, in the order of their trial."""
    named_only = not (wanted.groups or wanted.uid or wanted.extra)
    node, account = _node(wanted.name), _account(wanted.name)
    if node and named_only:
        if requestor.name.startswith(_ACCOUNT) and [node] == list(requestor.extra.get(_NODE_OF_TOKEN, ())):
            yield _mode("associated-node", wanted, asked, node="*")
        yield _mode("arbitrary-node", wanted, asked, node=node)
    elif account and named_only:
        yield _mode("serviceaccount", wanted, asked)
    elif not node and not account:
        yield _mode("user-info", wanted, asked)
    yield Mode(tuple(_rights("impersonate", "", wanted)), _completed(wanted))


def _mode(name: str, wanted: User, asked: Attributes, *, node: str = "") -> Mode:
    on = replace(asked, verb=f"impersonate-on:{name}:{asked.verb}")
    verb = f"impersonate:{name}"
    if node:
        user = replace(wanted, groups=("system:nodes",))
        return Mode((on, Attributes(verb, _AUTHENTICATION, "v1", "nodes", name=node)), _completed(user))
    return Mode((on, *_rights(verb, _AUTHENTICATION, wanted)), _completed(wanted))


def _rights(verb: str, group: str, wanted: User) -> Iterator[Attributes]:
    """The right to be each part of a user; `group` is that of users, groups and service accounts."""
    if (account := _account(wanted.name)) is not None:
        namespace, name = account
        yield Attributes(verb, group, "v1", "serviceaccounts", namespace=namespace, name=name)
    else:
        yield Attributes(verb, group, "v1", "users", name=wanted.name)
    if wanted.uid:
        yield Attributes(verb, _AUTHENTICATION, "v1", "uids", name=wanted.uid)
    for one in wanted.groups:
        yield Attributes(verb, group, "v1", "groups", name=one)
    for key, values in wanted.extra.items():
        for value in values:
            yield Attributes(verb, _AUTHENTICATION, "v1", "userextras", key, name=value)


def _completed(wanted: User) -> User:
    """The user with the groups that go without saying."""
    groups, account = wanted.groups, _account(wanted.name)
    if not groups and account is not None:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    implied = "system:unauthenticated" if wanted.name == "system:anonymous" else AUTHENTICATED
    if implied not in groups and "system:unauthenticated" not in groups:
        groups = (*groups, implied)
    return replace(wanted, groups=groups)


def _node(name: str) -> str:
    return name.removeprefix(_NODE) if name.startswith(_NODE) else ""


def _account(name: str) -> tuple[str, str] | None:
    match name.removeprefix(_ACCOUNT).split(":") if name.startswith(_ACCOUNT) else ():
        case [namespace, account] if namespace and account:
            return namespace, account
        case _:
            return None
