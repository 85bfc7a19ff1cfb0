"""Who may do what: RBAC, reviews and tokens."""

import pytest

from isthmus.lab.pki import Identity
from tests.lab.api_contract.api import Api, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_node_may_not_do_what_an_administrator_may(api: Api) -> None:
    async with api.session_of(Identity("joe", ("people",))) as joe:
        refused = await api.call("GET", "/api/v1/namespaces/default/secrets", session=joe)
        assert refused.message == (
            'secrets is forbidden: User "joe" cannot list resource "secrets" in API group "" '
            'in the namespace "default"'
        )
        who = await api.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, session=joe)
        assert who.body["status"]["userInfo"]["groups"] == ["people", "system:authenticated"]


async def test_a_role_gives_rights_where_it_is_bound_and_only_there(api: Api) -> None:
    here, there = await api.namespace(), await api.namespace()
    rbac = here.replace("/api/v1", "/apis/rbac.authorization.k8s.io/v1")
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    await api.call("POST", f"{rbac}/roles", {"metadata": {"name": "reader"}, "rules": rules})
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "User", "name": "ann"}],
    }
    assert (await api.call("POST", f"{rbac}/rolebindings", binding)).status == 201
    async with api.session_of(Identity("ann")) as ann:

        async def allowed() -> bool:
            return (await api.call("GET", f"{here}/configmaps", session=ann)).status == 200

        await eventually(allowed)
        assert (await api.call("GET", f"{there}/configmaps", session=ann)).status == 403
        assert (await api.call("GET", f"{here}/secrets", session=ann)).status == 403


async def test_access_reviews_answer_for_others(api: Api) -> None:
    attributes = {"verb": "list", "resource": "pods", "namespace": "default"}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    for user, groups, allowed in (("joe", [], False), ("joe", ["system:masters"], True)):
        spec = {"user": user, "groups": groups, "resourceAttributes": attributes}
        answer = await api.call("POST", path, {"spec": spec})
        assert answer.status == 201
        assert answer.body["status"]["allowed"] is allowed


async def test_tokens_are_issued_reviewed_and_end_with_their_account(api: Api) -> None:
    namespace = await api.namespace()
    name = namespace.rpartition("/")[2]
    await api.call("POST", f"{namespace}/serviceaccounts", {"metadata": {"name": "robot"}})
    request = {"spec": {"audiences": ["https://kubernetes.default.svc.cluster.local"]}}
    issued = await api.call("POST", f"{namespace}/serviceaccounts/robot/token", request)
    assert issued.status == 201
    token = issued.body["status"]["token"]
    review = {"spec": {"token": token}}
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    status = (await api.call("POST", path, review)).body["status"]
    assert status["authenticated"] is True
    assert status["user"]["username"] == f"system:serviceaccount:{name}:robot"
    async with api.session_of(token=token) as robot:
        refused = await api.call("GET", f"{namespace}/secrets", session=robot)
        assert refused.status == 403
        assert f'User "system:serviceaccount:{name}:robot"' in refused.message
    await api.call("DELETE", f"{namespace}/serviceaccounts/robot")

    async def forgotten() -> bool:
        return not (await api.call("POST", path, review)).body["status"].get("authenticated")

    await eventually(forgotten)


async def test_a_review_says_for_whom_a_token_is_and_for_whom_not(api: Api) -> None:
    namespace = await api.namespace()
    asked = {"spec": {"audiences": ["a", "b"]}}
    made = await api.call("POST", f"{namespace}/serviceaccounts/default/token", asked)
    token = made.body["status"]["token"]
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    seen = await api.call("POST", path, {"spec": {"token": token, "audiences": ["x", "b"]}})
    assert (seen.body["status"]["authenticated"], seen.body["status"]["audiences"]) == (True, ["b"])
    refused = (await api.call("POST", path, {"spec": {"token": token, "audiences": ["x"]}})).body["status"]
    assert "authenticated" not in refused
    text = 'token audiences ["a" "b"] is invalid for the target audiences ["x"]'
    assert refused["error"] == f"[invalid bearer token, {text}]"


async def test_one_may_act_as_another_for_one_sort_of_request_only(api: Api) -> None:
    """Constrained impersonation (KEP-5284)."""
    namespace = await api.namespace()
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    name, group = namespace.rpartition("/")[2], "authentication.k8s.io"
    rules = [
        {
            "apiGroups": [group],
            "resources": ["users"],
            "resourceNames": ["ann"],
            "verbs": ["impersonate:user-info"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["impersonate-on:user-info:list", "list"]},
    ]
    await api.call("POST", f"{rbac}/clusterroles", {"metadata": {"name": name}, "rules": rules})
    subjects = [{"kind": "User", "name": one} for one in ("eve", "ann")]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    binding = {"metadata": {"name": name}, "roleRef": role, "subjects": subjects}
    await api.call("POST", f"{rbac}/clusterrolebindings", binding)
    headers = {"Impersonate-User": "ann"}
    async with api.session_of(Identity("eve")) as eve:

        async def allowed() -> bool:
            return (
                await api.call("GET", f"{namespace}/configmaps", session=eve, headers=headers)
            ).status == 200

        await eventually(allowed)
        refused = await api.call("GET", f"{namespace}/secrets", session=eve, headers=headers)
        assert refused.message == (
            'secrets is forbidden: User "eve" cannot impersonate-on:user-info:list resource "secrets"'
            f' in API group "" in the namespace "{name}"'
        )
        other = {"Impersonate-User": "joe"}
        refused = await api.call("GET", f"{namespace}/configmaps", session=eve, headers=other)
        assert refused.message == (
            'users.authentication.k8s.io "joe" is forbidden: User "eve" cannot impersonate:user-info resource'
            f' "users" in API group "{group}" at the cluster scope'
        )
