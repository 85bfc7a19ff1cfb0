"""The roles of a new cluster, for our kinds, as Kubernetes' "Default roles and role bindings" lists them.

`admin`, `edit` and `view` are sums of the roles that carry their aggregation label; `aggregated` adds up.
"""

from collections.abc import Iterable, Iterator

from isthmus.lab.apiserver.objects import Object, items, labels_of, section
from isthmus.lab.apiserver.rbac import MASTERS, RBAC_GROUP
from isthmus.lab.apiserver.selectors import selects

_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_ALL = ("*",)
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_TO = "rbac.authorization.k8s.io/aggregate-to-"


def _rule(verbs: Iterable[str], groups: Iterable[str], resources: Iterable[str]) -> Object:
    return {"verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources)}


def _paths(*paths: str) -> Object:
    return {"verbs": ["get"], "nonResourceURLs": list(paths)}


_VIEW = [
    _rule(_READ, [""], ("configmaps", "endpoints", "pods", "services", "services/status", "serviceaccounts")),
    _rule(_READ, [""], ("events", "namespaces", "namespaces/status", "pods/log", "pods/status")),
    _rule(_READ, ["discovery.k8s.io"], ["endpointslices"]),
    _rule(
        _READ,
        ["apps"],
        (
            f"{plural}{part}"
            for plural in ("deployments", "replicasets", "statefulsets")
            for part in ("", "/scale", "/status")
        ),
    ),
    _rule(_READ, ["apps"], ("daemonsets", "daemonsets/status")),
    _rule(_READ, ["batch"], ("cronjobs", "cronjobs/status", "jobs", "jobs/status")),
    _rule(_READ, ["policy"], ("poddisruptionbudgets", "poddisruptionbudgets/status")),
]
_EDIT = [
    _rule(_READ, [""], ("pods/proxy", "secrets", "services/proxy")),
    _rule(["impersonate"], [""], ("serviceaccounts",)),
    _rule(_WRITE, [""], ("pods", "configmaps", "events", "secrets", "serviceaccounts", "services")),
    _rule(_WRITE, [""], ("pods/proxy", "services/proxy")),
    _rule(["create"], [""], ("pods/eviction", "serviceaccounts/token")),
    _rule(_WRITE, ["apps"], ("deployments", "deployments/scale", "replicasets", "replicasets/scale")),
    _rule(_WRITE, ["apps"], ("daemonsets", "statefulsets", "statefulsets/scale")),
    _rule(_WRITE, ["batch"], ("cronjobs", "jobs")),
    _rule(_WRITE, ["policy"], ["poddisruptionbudgets"]),
    _rule((*_READ, *_WRITE), ["coordination.k8s.io"], ["leases"]),
]
_ADMIN = [
    _rule(["create"], ["authorization.k8s.io"], ["localsubjectaccessreviews"]),
    _rule((*_READ, *_WRITE), [RBAC_GROUP], ("rolebindings", "roles")),
]
_DISCOVERY = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_DISCOVERED = ("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")
_NODE = [
    _rule(["create"], ["authentication.k8s.io"], ["tokenreviews"]),
    _rule(["create"], ["authorization.k8s.io"], ("localsubjectaccessreviews", "subjectaccessreviews")),
    _rule(_READ, [""], ["services"]),
    _rule(("create", *_READ), [""], ["nodes"]),
    _rule(("patch", "update"), [""], ("nodes", "nodes/status")),
    _rule(("create", "patch", "update"), [""], ["events"]),
    _rule(_READ, [""], ["pods"]),
    _rule(("create", "delete"), [""], ["pods"]),
    _rule(("patch", "update"), [""], ["pods/status"]),
    _rule(["create"], [""], ["pods/eviction"]),
    _rule(_READ, [""], ("configmaps", "secrets")),
    _rule(["create"], [""], ["serviceaccounts/token"]),
    _rule(["get"], [""], ["serviceaccounts"]),
    _rule(("create", "delete", "get", "patch", "update"), ["coordination.k8s.io"], ["leases"]),
]
_CONTROLLERS = [
    _rule(_ALL, _ALL, _ALL),
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]

_CLUSTER_ROLES: dict[str, list[Object]] = {
    "cluster-admin": _CONTROLLERS,
    "system:discovery": [_paths(*_DISCOVERY, *_DISCOVERED)],
    "system:public-info-viewer": [_paths(*_DISCOVERY)],
    "system:basic-user": [
        _rule(["create"], ["authorization.k8s.io"], ("selfsubjectaccessreviews", "selfsubjectrulesreviews")),
        _rule(["create"], ["authentication.k8s.io"], ["selfsubjectreviews"]),
    ],
    "system:service-account-issuer-discovery": [
        _paths(
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/",
            "/openid/v1/jwks",
            "/openid/v1/jwks/",
        )
    ],
    "system:monitoring": [
        _paths("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/readyz", "/readyz/*")
    ],
    "system:auth-delegator": [
        _rule(["create"], ["authentication.k8s.io"], ["tokenreviews"]),
        _rule(["create"], ["authorization.k8s.io"], ["subjectaccessreviews"]),
    ],
    "system:node": _NODE,
    "system:kube-controller-manager": _CONTROLLERS,
}
_AGGREGATED: dict[str, list[Object]] = {"view": _VIEW, "edit": _EDIT, "admin": _ADMIN}
_SUMS = {"view": ("view",), "edit": ("edit", "view"), "admin": ("admin", "edit", "view")}

_BINDINGS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "cluster-admin": ("cluster-admin", (("Group", MASTERS),)),
    "system:discovery": ("system:discovery", (("Group", "system:authenticated"),)),
    "system:basic-user": ("system:basic-user", (("Group", "system:authenticated"),)),
    "system:public-info-viewer": (
        "system:public-info-viewer",
        (("Group", "system:authenticated"), ("Group", "system:unauthenticated")),
    ),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        (("Group", "system:serviceaccounts"),),
    ),
    "system:monitoring": ("system:monitoring", (("Group", "system:monitoring"),)),
    "system:kube-controller-manager": (
        "system:kube-controller-manager",
        (("User", "system:kube-controller-manager"),),
    ),
}


def cluster_roles() -> Iterator[Object]:
    """The ClusterRoles of a new cluster; the aggregated ones are still empty."""
    for name, rules in _CLUSTER_ROLES.items():
        yield {"metadata": {"name": name, "labels": dict(_LABELS)}, "rules": rules}
    for name, rules in _AGGREGATED.items():
        yield {
            "metadata": {
                "name": f"system:aggregate-to-{name}",
                "labels": {**_LABELS, f"{_TO}{name}": "true"},
            },
            "rules": rules,
        }
    for name, parts in _SUMS.items():
        selectors = [{"matchLabels": {f"{_TO}{one}": "true"}} for one in parts]
        yield {
            "metadata": {"name": name, "labels": dict(_LABELS)},
            "aggregationRule": {"clusterRoleSelectors": selectors},
            "rules": [],
        }


def cluster_role_bindings() -> Iterator[Object]:
    """The ClusterRoleBindings of a new cluster."""
    for name, (role, subjects) in _BINDINGS.items():
        yield {
            "metadata": {"name": name, "labels": dict(_LABELS)},
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": RBAC_GROUP, "kind": kind, "name": one} for kind, one in subjects],
        }


def aggregated(role: Object, all_roles: Iterable[Object]) -> list[Object] | None:
    """The rules that an aggregated ClusterRole should have; None for one that is not aggregated."""
    selectors = items(section(role, "aggregationRule"), "clusterRoleSelectors")
    if not selectors:
        return None
    chosen = [selects(one) for one in selectors]
    rules: list[Object] = []
    for other in sorted(all_roles, key=lambda one: one["metadata"]["name"]):
        if other["metadata"]["name"] == role["metadata"]["name"] or not labels_of(other):
            continue
        if any(matches(other) for matches in chosen):
            rules += [rule for rule in items(other, "rules") if rule not in rules]
    return rules
