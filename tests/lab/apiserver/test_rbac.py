from typing import Any

import pytest
from multidict import CIMultiDict

from isthmus.lab.apiserver import kinds, writing
from isthmus.lab.apiserver.authn import User
from isthmus.lab.apiserver.bootstrap import aggregate_roles
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.errors import RefusedError
from isthmus.lab.apiserver.impersonation import Mode, impersonation_modes, wanted_user
from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.rbac import RBAC_GROUP, Attributes, covers, refusal, rule_allows
from tests.lab.apiserver.building import ADMIN, create, target

ANN = User("ann", ("system:authenticated",))
NODE = User("system:node:west-node", ("system:nodes", "system:authenticated"))


def _rule(verbs: str, groups: str, resources: str, **more: Any) -> Object:
    return {"verbs": verbs.split(), "apiGroups": groups.split(","), "resources": resources.split(), **more}


def _bind(cluster: Cluster, role: str, *, user: str = "ann", cluster_wide: bool = False) -> None:
    resource = kinds.CLUSTER_ROLE_BINDINGS if cluster_wide else kinds.ROLE_BINDINGS
    create(
        cluster,
        resource,
        f"{user}-{role}",
        roleRef={"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role},
        subjects=[{"kind": "User", "name": user}],
    )


@pytest.mark.parametrize(
    ("rule", "wanted", "allowed"),
    [
        (_rule("get", "", "pods"), Attributes("get", "", "v1", "pods"), True),
        (_rule("get", "", "pods"), Attributes("list", "", "v1", "pods"), False),
        (_rule("get", "", "pods"), Attributes("get", "apps", "v1", "pods"), False),
        (_rule("get", "", "pods"), Attributes("get", "", "v1", "pods", "log"), False),
        (_rule("get", "", "pods/log"), Attributes("get", "", "v1", "pods", "log"), True),
        (
            _rule("update", "apps", "*/scale"),
            Attributes("update", "apps", "v1", "deployments", "scale"),
            True,
        ),
        (_rule("*", "*", "*"), Attributes("get", "", "v1", "pods", "log"), True),
        (_rule("get", "", "pods", resourceNames=["a"]), Attributes("get", "", "v1", "pods", name="a"), True),
        (_rule("list", "", "pods", resourceNames=["a"]), Attributes("list", "", "v1", "pods"), False),
        ({"verbs": ["get"], "nonResourceURLs": ["/api/*"]}, Attributes("get", path="/api/v1"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["/api"]}, Attributes("get", path="/api/v1"), False),
        (_rule("*", "*", "*"), Attributes("get", path="/metrics"), False),
    ],
)
def test_rules_cover_what_they_name(rule: Object, wanted: Attributes, *, allowed: bool) -> None:
    assert rule_allows(rule, wanted) is allowed


def test_a_binding_in_a_namespace_gives_nothing_elsewhere(cluster: Cluster) -> None:
    wanted = Attributes("list", "", "v1", "pods", namespace="default")
    assert not cluster.authorizer.allows(ANN, wanted)
    _bind(cluster, "view")
    assert cluster.authorizer.allows(ANN, wanted)
    assert not cluster.authorizer.allows(ANN, Attributes("list", "", "v1", "pods", namespace="kube-system"))
    assert not cluster.authorizer.allows(ANN, Attributes("list", "", "v1", "pods"))


def test_a_binding_of_the_cluster_gives_everywhere_and_says_why(cluster: Cluster) -> None:
    _bind(cluster, "view", cluster_wide=True)
    reason = cluster.authorizer.reason(ANN, Attributes("list", "", "v1", "pods"))
    assert reason == ('RBAC: allowed by ClusterRoleBinding "ann-view" of ClusterRole "view" to User "ann"')


def test_removing_a_binding_takes_its_rights_at_once(cluster: Cluster) -> None:
    _bind(cluster, "view", cluster_wide=True)
    wanted = Attributes("list", "", "v1", "pods")
    assert cluster.authorizer.allows(ANN, wanted)
    cluster.store.commit(
        kinds.CLUSTER_ROLE_BINDINGS, target(kinds.CLUSTER_ROLE_BINDINGS, "ann-view").key, None
    )
    assert not cluster.authorizer.allows(ANN, wanted)


def test_default_roles_add_up(cluster: Cluster) -> None:
    rights = {
        "view": (True, False, False),
        "edit": (True, True, False),
        "admin": (True, True, True),
    }
    for role, expected in rights.items():
        _bind(cluster, role, user=role)
        user = User(role)
        asked = (
            Attributes("list", "", "v1", "pods", namespace="default"),
            Attributes("get", "", "v1", "secrets", namespace="default"),
            Attributes("create", RBAC_GROUP, "v1", "roles", namespace="default"),
        )
        assert tuple(cluster.authorizer.allows(user, one) for one in asked) == expected


def test_a_labelled_role_joins_the_role_that_aggregates_it(cluster: Cluster) -> None:
    labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    rules = [_rule("get", "example.com", "things")]
    create(cluster, kinds.CLUSTER_ROLES, "things", metadata={"labels": labels}, rules=rules)
    aggregate_roles(cluster)
    found = cluster.store.get(kinds.CLUSTER_ROLES, target(kinds.CLUSTER_ROLES, "edit").key)
    assert found is not None
    assert rules[0] in found.object["rules"]


def test_a_node_may_run_pods_and_no_more(cluster: Cluster) -> None:
    for allowed in (
        Attributes("watch", "", "v1", "pods"),
        Attributes("patch", "", "v1", "pods", "status", "default"),
        Attributes("create", "", "v1", "serviceaccounts", "token", "default"),
        Attributes("update", "coordination.k8s.io", "v1", "leases", namespace="kube-node-lease"),
    ):
        assert cluster.authorizer.allows(NODE, allowed), allowed
    for refused in (
        Attributes("delete", "", "v1", "namespaces"),
        Attributes("create", "", "v1", "secrets", namespace="default"),
        Attributes("create", RBAC_GROUP, "v1", "clusterrolebindings"),
    ):
        assert not cluster.authorizer.allows(NODE, refused), refused


def test_nobody_grants_more_than_they_hold(cluster: Cluster) -> None:
    _bind(cluster, "admin")
    granting = target(kinds.ROLES, user=ANN)
    held: Object = {"metadata": {"name": "held"}, "rules": [_rule("get", "", "pods")]}
    writing.create(cluster, granting, held)
    more: Object = {"metadata": {"name": "more"}, "rules": [_rule("get", "", "nodes")]}
    with pytest.raises(RefusedError) as refused:
        writing.create(cluster, granting, more)
    assert refused.value.code == 403
    assert "is attempting to grant RBAC permissions not currently held:" in refused.value.message
    assert '{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}' in refused.value.message
    binding: Object = {
        "metadata": {"name": "all"},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "ann"}],
    }
    with pytest.raises(RefusedError):
        writing.create(cluster, target(kinds.ROLE_BINDINGS, user=ANN), binding)


def test_a_rule_is_covered_by_several_together() -> None:
    held = [_rule("get", "", "pods"), _rule("list", "", "pods"), _rule("get list", "", "services")]
    assert covers(held, _rule("get list", "", "pods services"))
    assert not covers(held, _rule("get watch", "", "pods"))
    assert not covers([_rule("get", "", "pods", resourceNames=["a"])], _rule("get", "", "pods"))


def test_refusals_name_user_verb_resource_and_place() -> None:
    wanted = Attributes("patch", "apps", "v1", "deployments", "scale", "demo", "web")
    assert refusal(ANN, wanted) == (
        'User "ann" cannot patch resource "deployments/scale" in API group "apps" in the namespace "demo"'
    )
    assert refusal(ANN, Attributes("get", path="/metrics")) == 'User "ann" cannot get path "/metrics"'


ASKED = Attributes("list", "", "v1", "pods", namespace="demo")


def shown(mode: Mode) -> list[tuple[str, ...]]:
    return [(one.verb, one.group, one.resource, one.subresource, one.name) for one in mode.rights]


def test_impersonation_takes_a_right_for_each_part() -> None:
    headers = CIMultiDict[str](
        [
            ("Impersonate-User", "joe"),
            ("Impersonate-Group", "people"),
            ("Impersonate-Extra-Scopes", "view"),
        ]
    )
    other = wanted_user(headers)
    assert other is not None
    constrained, legacy = impersonation_modes(other, ANN, ASKED)
    verb, group = "impersonate:user-info", "authentication.k8s.io"
    assert shown(constrained) == [
        ("impersonate-on:user-info:list", "", "pods", "", ""),
        (verb, group, "users", "", "joe"),
        (verb, group, "groups", "", "people"),
        (verb, group, "userextras", "scopes", "view"),
    ]
    assert shown(legacy) == [
        ("impersonate", "", "users", "", "joe"),
        ("impersonate", "", "groups", "", "people"),
        ("impersonate", group, "userextras", "scopes", "view"),
    ]
    assert legacy.user.groups == constrained.user.groups == ("people", "system:authenticated")
    assert wanted_user(CIMultiDict[str]()) is None
    with pytest.raises(RefusedError, match="without impersonating a user name"):
        wanted_user(CIMultiDict({"Impersonate-Group": "people"}))


def test_accounts_and_nodes_are_impersonated_by_rights_of_their_own() -> None:
    account = User("system:serviceaccount:demo:robot")
    constrained, legacy = impersonation_modes(account, ANN, ASKED)
    right = ("impersonate:serviceaccount", "authentication.k8s.io", "serviceaccounts", "", "robot")
    assert shown(constrained)[1:] == [right]
    assert legacy.rights[0].namespace == constrained.rights[1].namespace == "demo"
    assert legacy.user.groups[:2] == ("system:serviceaccounts", "system:serviceaccounts:demo")
    extra = {"authentication.kubernetes.io/node-name": ["n"]}
    requestor = User("system:serviceaccount:demo:agent", extra=extra)
    own, any_, legacy = impersonation_modes(User("system:node:n"), requestor, ASKED)
    assert [(mode.rights[0].verb, mode.rights[1].name) for mode in (own, any_)] == [
        ("impersonate-on:associated-node:list", "*"),
        ("impersonate-on:arbitrary-node:list", "n"),
    ]
    assert own.user.groups == ("system:nodes", "system:authenticated")
    assert legacy.user.groups == ("system:authenticated",)
    assert len(list(impersonation_modes(User("system:node:other"), requestor, ASKED))) == 2


def test_masters_may_do_everything(cluster: Cluster) -> None:
    assert cluster.authorizer.reason(ADMIN, Attributes("delete", "x.io", "v1", "anything")) == ""
