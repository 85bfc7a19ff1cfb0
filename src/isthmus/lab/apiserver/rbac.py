"""May they: role-based access control over the RBAC objects of the store. Everything not allowed is refused.

Source: Kubernetes "Using RBAC Authorization". A node is given the rules of `system:node`, in place of the
node authorizer, which looks further, at what the node's own pods refer to.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from isthmus.lab.apiserver.authn import User
from isthmus.lab.apiserver.kinds import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from isthmus.lab.apiserver.objects import Object, items, section, strings
from isthmus.lab.apiserver.store import Change, Key, Store

MASTERS = "system:masters"
NODES_GROUP = "system:nodes"
RBAC_GROUP = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a request wants. `path` is set for requests that concern no resource; `resource` is the plural."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class _Binding:
    namespace: str
    role_kind: str
    role_name: str
    described: str


class Authorizer:
    """Answers from an index of the bindings by subject, made anew after a binding has changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index: dict[str, list[_Binding]] | None = None
        store.listen(self._changed)

    def allows(self, user: User, wanted: Attributes) -> bool:
        """Whether the user may do that."""
        return self.reason(user, wanted) is not None

    def reason(self, user: User, wanted: Attributes) -> str | None:
        """Why the user may do that, empty for those who may do all; None: it is not allowed."""
        if MASTERS in user.groups:
            return ""
        for binding in self._bindings(user):
            if binding.namespace and binding.namespace != wanted.namespace:
                continue
            if binding.namespace and wanted.path:
                continue
            if any(rule_allows(rule, wanted) for rule in self._rules(binding)):
                return binding.described
        return None

    def rules(self, user: User, namespace: str) -> list[Object]:
        """All rules that hold for the user in a namespace, those for the whole cluster too."""
        if MASTERS in user.groups:
            anything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            return [anything, {"verbs": ["*"], "nonResourceURLs": ["*"]}]
        return [
            rule
            for binding in self._bindings(user)
            if binding.namespace in ("", namespace)
            for rule in self._rules(binding)
        ]

    def _changed(self, change: Change) -> None:
        if change.resource in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            self._index = None

    def _bindings(self, user: User) -> Iterator[_Binding]:
        index = self._index = self._made_index() if self._index is None else self._index
        yield from index.get(f"User:{user.name}", ())
        for group in user.groups:
            yield from index.get(f"Group:{group}", ())
        if NODES_GROUP in user.groups and user.name.startswith("system:node:"):
            yield _Binding("", "ClusterRole", "system:node", "")

    def _made_index(self) -> dict[str, list[_Binding]]:
        index: dict[str, list[_Binding]] = {}
        for resource in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            for key, stored in self._store.entries(resource):
                role = section(stored.object, "roleRef")
                for subject in items(stored.object, "subjects"):
                    shown = _shown_subject(subject)
                    place = f"{key.name}/{key.namespace}" if key.namespace else key.name
                    described = (
                        f'RBAC: allowed by {resource.kind} "{place}" of {role.get("kind")} '
                        f'"{role.get("name")}" to {subject.get("kind")} "{shown[1]}"'
                    )
                    binding = _Binding(key.namespace, role.get("kind", ""), role.get("name", ""), described)
                    index.setdefault(shown[0], []).append(binding)
        return index

    def _rules(self, binding: _Binding) -> list[Object]:
        resource, namespace = (
            (ROLES, binding.namespace) if binding.role_kind == "Role" else (CLUSTER_ROLES, "")
        )
        found = self._store.get(resource, Key(namespace, binding.role_name))
        return items(found.object, "rules") if found else []


def _shown_subject(subject: Object) -> tuple[str, str]:
    """The subject's key in the index, and how reasons name it."""
    name = subject.get("name", "")
    if subject.get("kind") == "ServiceAccount":
        namespace = subject.get("namespace", "")
        return f"User:system:serviceaccount:{namespace}:{name}", f"{name}/{namespace}"
    return f"{subject.get('kind')}:{name}", name


def rule_allows(rule: Object, wanted: Attributes) -> bool:
    """Whether one rule of a role covers the request."""
    if not _any(strings(rule, "verbs"), (wanted.verb, "*")):
        return False
    if wanted.path:
        return any(_url_covers(url, wanted.path) for url in strings(rule, "nonResourceURLs"))
    if not _any(strings(rule, "apiGroups"), (wanted.group, "*")):
        return False
    accepted = [wanted.resource, "*"]
    if wanted.subresource:
        accepted = [f"{wanted.resource}/{wanted.subresource}", f"*/{wanted.subresource}", "*"]
    if not _any(strings(rule, "resources"), accepted):
        return False
    names = strings(rule, "resourceNames")
    return not names or wanted.name in names


def covers(held: Iterable[Object], rule: Object) -> bool:
    """Whether rules held cover another rule wholly: who may not do a thing may not grant it either."""
    held = list(held)
    for verb in strings(rule, "verbs"):
        for path in strings(rule, "nonResourceURLs"):
            if not any(rule_allows(one, Attributes(verb, path=path)) for one in held):
                return False
        for group in strings(rule, "apiGroups"):
            for resource in strings(rule, "resources"):
                plural, _, subresource = resource.partition("/")
                for name in strings(rule, "resourceNames") or [""]:
                    wanted = Attributes(verb, group, "", plural, subresource, name=name)
                    if not any(rule_allows(one, wanted) for one in held):
                        return False
    return True


def refusal(user: User, wanted: Attributes) -> str:
    """Why a request was refused, as kube-apiserver words it (without the part that names the object)."""
    if wanted.path:
        return f'User "{user.name}" cannot {wanted.verb} path "{wanted.path}"'
    resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
    text = f'User "{user.name}" cannot {wanted.verb} resource "{resource}" in API group "{wanted.group}"'
    if wanted.namespace:
        return f'{text} in the namespace "{wanted.namespace}"'
    return f"{text} at the cluster scope"


def _any(given: Iterable[str], accepted: Iterable[str]) -> bool:
    wanted = tuple(accepted)
    return any(one in wanted for one in given)


def _url_covers(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))
