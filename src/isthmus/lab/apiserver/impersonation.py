"""Acting as somebody else: the headers that ask for it, and the rights that it takes. Pure.

Source: Kubernetes "User impersonation".
"""

from collections.abc import Iterator
from urllib.parse import unquote

from multidict import CIMultiDict, CIMultiDictProxy

from isthmus.lab.apiserver.authn import AUTHENTICATED, User
from isthmus.lab.apiserver.errors import bad_request
from isthmus.lab.apiserver.rbac import Attributes

_EXTRA = "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
_AUTHENTICATION = "authentication.k8s.io"


def impersonation(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> User | None:
    """Whom the headers ask to act as, None where they do not; 400 where they are incomplete."""
    name = headers.get("Impersonate-User", "")
    groups = tuple(headers.getall("Impersonate-Group", ()))
    uid = headers.get("Impersonate-Uid", "")
    extra: dict[str, list[str]] = {}
    for header, value in headers.items():
        if header.lower().startswith(_EXTRA):
            extra.setdefault(unquote(header[len(_EXTRA) :].lower()), []).append(value)
    if not name:
        if groups or uid or extra:
            raise bad_request("requested without impersonating a user")
        return None
    if not groups and name.startswith(_ACCOUNT):
        namespace = name.removeprefix(_ACCOUNT).partition(":")[0]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    if name != "system:anonymous" and AUTHENTICATED not in groups:
        groups = (*groups, AUTHENTICATED)
    return User(name, groups, uid, extra)


def impersonation_rights(user: User) -> Iterator[Attributes]:
    """What one must be allowed in order to act as that user."""
    if user.name.startswith(_ACCOUNT) and user.name.count(":") == 3:
        namespace, name = user.name.removeprefix(_ACCOUNT).split(":")
        yield Attributes("impersonate", "", "v1", "serviceaccounts", namespace=namespace, name=name)
    else:
        yield Attributes("impersonate", "", "v1", "users", name=user.name)
    for group in user.groups:
        implied = group == AUTHENTICATED or group.startswith("system:serviceaccounts")
        if not implied:
            yield Attributes("impersonate", "", "v1", "groups", name=group)
    if user.uid:
        yield Attributes("impersonate", _AUTHENTICATION, "v1", "uids", name=user.uid)
    for key, values in user.extra.items():
        for value in values:
            yield Attributes("impersonate", _AUTHENTICATION, "v1", "userextras", key, name=value)
