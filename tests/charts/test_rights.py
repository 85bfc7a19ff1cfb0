"""The rights of the control plane in a remote cluster, tier by tier."""

import pytest

from tests.charts.rendering import REMOTE, Object, names, parse, render

ACCOUNT = "istio-reader-service-account"
ENDPOINTS = ["istio-pilot", "istio-policy", "istio-statsd-prom-bridge"]
READ = ["get", "list", "watch"]
RULES = {
    "read": [
        {
            "apiGroups": [""],
            "resources": ["services", "endpoints", "pods", "nodes", "namespaces"],
            "verbs": READ,
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
    ],
    "authenticate": [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["istio-ca-root-cert"],
            "verbs": [*READ, "patch"],
        },
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": READ},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
    ],
    "heal": [
        {
            "apiGroups": [""],
            "resources": ["endpoints"],
            "resourceNames": ENDPOINTS,
            "verbs": ["get", "update", "patch"],
        },
        {"apiGroups": [""], "resources": ["endpoints"], "verbs": ["create"]},
    ],
    "renew": [
        {
            "apiGroups": [""],
            "resources": ["serviceaccounts/token"],
            "resourceNames": [ACCOUNT],
            "verbs": ["create"],
        }
    ],
}
CLUSTER_WIDE = {"read", "authenticate"}


def only(*tiers: str) -> list[Object]:
    """The chart with these tiers."""
    return render(REMOTE, *(f"rights.{tier}={str(tier in tiers).lower()}" for tier in RULES))


@pytest.mark.parametrize("tier", RULES)
def test_each_tier_gives_its_rules_and_no_other(tier: str) -> None:
    objects = only(tier)
    roles = [item for item in objects if item["kind"] in ("Role", "ClusterRole")]
    bindings = [item for item in objects if item["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    (role,), (binding,) = roles, bindings
    assert role["rules"] == RULES[tier]
    assert (role["kind"] == "ClusterRole") == (tier in CLUSTER_WIDE)
    assert binding["kind"] == f"{role['kind']}Binding"
    assert binding["roleRef"]["kind"] == role["kind"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "istio-system"}]


def test_without_tiers_there_is_an_account_without_rights() -> None:
    objects = only()
    assert names(objects, "ServiceAccount") == {ACCOUNT}
    assert not [item for item in objects if "Role" in item["kind"]]


def test_renewal_is_for_who_asks_for_it() -> None:
    rules = [rule for item in render(REMOTE) for rule in item.get("rules", [])]
    assert rules == [rule for tier in ("read", "authenticate", "heal") for rule in RULES[tier]]


def test_no_tier_can_see_a_secret_or_everything() -> None:
    for item in only(*RULES):
        for rule in item.get("rules", []):
            assert not {"secrets", "*"} & {*rule["resources"], *rule["verbs"], *rule["apiGroups"]}


def test_files_are_the_same_manifest_without_helm() -> None:
    plain = [
        item
        for tier in ("account", *RULES)
        for item in parse((REMOTE / f"rights/{tier}.yaml").read_text().replace("NAMESPACE", "mesh"))
    ]
    rendered = render(REMOTE, "rights.renew=true", namespace="mesh")
    ours = [item for item in rendered if "Role" in item["kind"] or item["kind"] == "ServiceAccount"]

    def by_name(items: list[Object]) -> list[Object]:
        return sorted(items, key=lambda item: (item["kind"], item["metadata"]["name"]))

    assert by_name(plain) == by_name(ours)
    assert len(plain) == 9


def test_rights_take_an_older_version_by_value() -> None:
    older = render(REMOTE, "global.apiVersions.rbac=rbac.authorization.k8s.io/v1beta1")
    versions = {item["apiVersion"] for item in older if "Role" in item["kind"]}
    assert versions == {"rbac.authorization.k8s.io/v1beta1"}
    groups = {item["roleRef"]["apiGroup"] for item in older if "roleRef" in item}
    assert groups == {"rbac.authorization.k8s.io"}
