"""Server-side apply: who owns what, conflicts, and what goes when nobody applies it any longer."""

import json
from typing import Any

import pytest

from tests.lab.api_contract.api import MERGE_PATCH, Answer, Api, config_map, deployment

pytestmark = pytest.mark.asyncio(loop_scope="session")
APPLY = "application/apply-patch+yaml"


async def _apply(api: Api, path: str, body: dict[str, Any], manager: str = "tester", **params: Any) -> Answer:
    return await api.call("PATCH", path, body, content_type=APPLY, fieldManager=manager, **params)


def _managers(answer: Answer) -> dict[tuple[str, str], Any]:
    entries = answer.body["metadata"]["managedFields"]
    return {(one["manager"], one["operation"]): one["fieldsV1"] for one in entries}


def _deployment(name: str, image: str = "example/app") -> dict[str, Any]:
    body: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment", **deployment(name)}
    body["spec"]["template"]["spec"]["containers"][0]["image"] = image
    return body


async def test_apply_creates_then_changes_then_leaves_alone(api: Api) -> None:
    path = f"{await api.namespace()}/configmaps/one"
    created = await _apply(api, path, config_map("one", a="1"))
    assert created.status == 201
    assert _managers(created) == {("tester", "Apply"): {"f:data": {"f:a": {}}}}
    changed = await _apply(api, path, config_map("one", a="2"))
    assert (changed.status, changed.body["data"]) == (200, {"a": "2"})
    same = await _apply(api, path, config_map("one", a="2"))
    assert same.body["metadata"]["resourceVersion"] == changed.body["metadata"]["resourceVersion"]


async def test_fields_that_are_no_longer_applied_are_removed(api: Api) -> None:
    path = f"{await api.namespace()}/configmaps/one"
    await _apply(api, path, config_map("one", a="1", b="2"))
    await _apply(api, path, config_map("one", c="3"), "other")
    assert (await _apply(api, path, config_map("one", a="1"))).body["data"] == {"a": "1", "c": "3"}


async def test_fields_of_others_conflict_until_forced(api: Api) -> None:
    path = f"{await api.namespace()}/configmaps/one"
    await _apply(api, path, config_map("one", a="1", b="1"))
    refused = await _apply(api, path, config_map("one", a="2", b="1"), "other")
    assert (refused.status, refused.reason) == (409, "Conflict")
    assert refused.message == 'Apply failed with 1 conflict: conflict with "tester": .data.a'
    assert refused.body["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "tester"', "field": ".data.a"}
    ]
    forced = await _apply(api, path, config_map("one", a="2", b="1"), "other", force="true")
    assert _managers(forced) == {
        ("tester", "Apply"): {"f:data": {"f:b": {}}},
        ("other", "Apply"): {"f:data": {"f:a": {}, "f:b": {}}},
    }


async def test_several_conflicts_are_listed_by_manager(api: Api) -> None:
    namespace = await api.namespace()
    path = f"{namespace}/configmaps/one"
    await api.call("POST", f"{namespace}/configmaps", config_map("one", a="1", b="1"), fieldManager="maker")
    refused = await _apply(api, path, config_map("one", a="2", b="2"))
    assert refused.message == (
        'Apply failed with 2 conflicts: conflicts with "maker" using v1:\n- .data.a\n- .data.b'
    )


async def test_updates_and_patches_own_what_they_change(api: Api) -> None:
    path = f"{await api.namespace()}/configmaps/one"
    await _apply(api, path, config_map("one", a="1", b="1"))
    patch = {"data": {"a": "2", "c": "3"}}
    patched = await api.call("PATCH", path, patch, content_type=MERGE_PATCH, fieldManager="editor")
    assert _managers(patched) == {
        ("tester", "Apply"): {"f:data": {"f:b": {}}},
        ("editor", "Update"): {"f:data": {"f:a": {}, "f:c": {}}},
    }
    body = {**patched.body, "data": {"b": "1"}}
    updated = await api.call("PUT", path, body, headers={"User-Agent": "agent/1 (x)"})
    assert _managers(updated) == {("tester", "Apply"): {"f:data": {"f:b": {}}}}


async def test_items_of_lists_have_owners_and_go_with_them(api: Api) -> None:
    namespace = (await api.namespace()).replace("/api/v1", "/apis/apps/v1")
    path, body = f"{namespace}/deployments/web", _deployment("web")
    created = await _apply(api, path, body)
    assert _managers(created)["tester", "Apply"]["f:spec"]["f:template"]["f:spec"] == {
        "f:containers": {'k:{"name":"main"}': {".": {}, "f:image": {}, "f:name": {}}}
    }
    sidecar: dict[str, Any] = {**_deployment("web"), "spec": {"template": {"spec": {"containers": []}}}}
    sidecar["spec"]["template"]["spec"]["containers"] = [{"name": "sidecar", "image": "example/sidecar"}]
    both = await _apply(api, path, sidecar, "injector")
    assert [one["name"] for one in both.body["spec"]["template"]["spec"]["containers"]] == ["main", "sidecar"]
    sidecar["spec"] = {}
    alone = await _apply(api, path, sidecar, "injector")
    containers = alone.body["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in containers] == ["main"]
    assert containers[0]["terminationMessagePath"] == "/dev/termination-log"


async def test_defaults_belong_to_nobody_who_applies(api: Api) -> None:
    namespace = (await api.namespace()).replace("/api/v1", "/apis/apps/v1")
    path = f"{namespace}/deployments/web"
    await _apply(api, path, _deployment("web"))
    scaled = {**_deployment("web"), "spec": {"replicas": 3}}
    assert (await _apply(api, path, scaled, "scaler")).body["spec"]["replicas"] == 3
    unscaled: dict[str, Any] = {**_deployment("web"), "spec": {}}
    assert (await _apply(api, path, unscaled, "scaler")).body["spec"]["replicas"] == 1


async def test_status_has_owners_of_its_own(api: Api) -> None:
    namespace = (await api.namespace()).replace("/api/v1", "/apis/apps/v1")
    path = f"{namespace}/deployments/web"
    await _apply(api, path, _deployment("web"))
    status = {"apiVersion": "apps/v1", "kind": "Deployment", "status": {"replicas": 2}}
    applied = await _apply(api, f"{path}/status", status, "controller")
    assert applied.body["status"]["replicas"] == 2
    entry = next(one for one in applied.body["metadata"]["managedFields"] if one["manager"] == "controller")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:replicas": {}}})
    again = await _apply(api, path, {**_deployment("web"), "status": {"replicas": 7}})
    assert again.body["status"]["replicas"] == 2


async def test_scaling_takes_the_replicas_over(api: Api) -> None:
    namespace = (await api.namespace()).replace("/api/v1", "/apis/apps/v1")
    path, body = f"{namespace}/deployments/web", _deployment("web")
    body["spec"]["replicas"] = 2
    await _apply(api, path, body)
    patch = {"spec": {"replicas": 3}}
    await api.call("PATCH", f"{path}/scale", patch, content_type=MERGE_PATCH, fieldManager="scaler")
    refused = await _apply(api, path, body)
    assert refused.message == (
        'Apply failed with 1 conflict: conflict with "scaler" with subresource "scale" using apps/v1: '
        ".spec.replicas"
    )


async def test_dry_run_applies_nothing(api: Api) -> None:
    path = f"{await api.namespace()}/configmaps/one"
    dry = await _apply(api, path, config_map("one", a="1"), dryRun="All")
    assert (dry.status, dry.body["data"]) == (201, {"a": "1"})
    assert (await api.call("GET", path)).status == 404


async def test_ownership_can_be_handed_over_and_cleared(api: Api) -> None:
    path = f"{await api.namespace()}/configmaps/one"
    created = await _apply(api, path, config_map("one", a="1"))
    entries = [{**one, "manager": "heir"} for one in created.body["metadata"]["managedFields"]]
    patch = {"metadata": {"managedFields": entries}}
    handed = await api.call("PATCH", path, patch, content_type=MERGE_PATCH)
    assert list(_managers(handed)) == [("heir", "Apply")]
    cleared = await api.call("PATCH", path, {"metadata": {"managedFields": [{}]}}, content_type=MERGE_PATCH)
    assert "managedFields" not in cleared.body["metadata"]


async def test_configurations_that_make_no_sense_are_refused(api: Api) -> None:
    path = f"{await api.namespace()}/configmaps/one"
    nobody = await api.call("PATCH", path, config_map("one"), content_type=APPLY)
    assert nobody.status == 422
    assert "fieldManager: Required value: is required for apply patch" in nobody.message
    forced = await api.call("PATCH", path, {}, content_type=MERGE_PATCH, force="true")
    assert "force: Forbidden: may not be specified for non-apply patch" in forced.message
    owned = config_map("one")
    owned["metadata"]["managedFields"] = [{"manager": "me"}]
    assert (await _apply(api, path, owned)).message == "metadata.managedFields must be nil"
    unknown = await _apply(api, path, {**config_map("one"), "dat": {}})
    assert unknown.status == 500
    assert ".dat: field not declared in schema" in unknown.message


async def test_cbor_is_refused(api: Api) -> None:
    path = f"{await api.namespace()}/configmaps/one"
    answer = await api.call(
        "PATCH", path, b"\xa0", content_type="application/apply-patch+cbor", fieldManager="me"
    )
    assert answer.status == 415


async def test_kubectl_may_change_what_it_applied_from_its_own_side(api: Api) -> None:
    namespace = await api.namespace()
    path, last = f"{namespace}/configmaps/one", "kubectl.kubernetes.io/last-applied-configuration"
    body = config_map("one", a="1")
    body["metadata"]["annotations"] = {last: json.dumps(config_map("one", a="1"))}
    await api.call("POST", f"{namespace}/configmaps", body, fieldManager="kubectl-client-side-apply")
    assert (await _apply(api, path, config_map("one", a="2"))).status == 409
    applied = await _apply(api, path, config_map("one", a="2"), "kubectl")
    assert applied.body["data"] == {"a": "2"}
    assert json.loads(applied.body["metadata"]["annotations"][last])["data"] == {"a": "2"}
