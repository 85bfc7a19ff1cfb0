"""The patch formats."""

import pytest

from tests.lab.api_contract.api import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Api, config_map, deployment

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_merge_patches_remove_with_null(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("one", a="1", b="2"))
    patch = {"data": {"a": None, "c": "3"}}
    patched = await api.call("PATCH", f"{namespace}/configmaps/one", patch, content_type=MERGE_PATCH)
    assert patched.body["data"] == {"b": "2", "c": "3"}


async def test_json_patches_apply_in_order_or_not_at_all(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("one", a="1"))
    path = f"{namespace}/configmaps/one"
    good = [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "add", "path": "/data/b", "value": "2"}]
    assert (await api.call("PATCH", path, good, content_type=JSON_PATCH)).body["data"] == {"a": "1", "b": "2"}
    bad = [{"op": "remove", "path": "/data/a"}, {"op": "test", "path": "/data/b", "value": "9"}]
    assert (await api.call("PATCH", path, bad, content_type=JSON_PATCH)).status == 422
    assert (await api.call("GET", path)).body["data"] == {"a": "1", "b": "2"}


async def test_strategic_patches_merge_containers_by_name_and_env_by_name(api: Api) -> None:
    namespace = (await api.namespace()).replace("/api/v1", "/apis/apps/v1")
    await api.call("POST", f"{namespace}/deployments", deployment("web"))
    container = {"name": "main", "env": [{"name": "A", "value": "1"}]}
    sidecar = {"name": "sidecar", "image": "example/sidecar"}
    patch = {"spec": {"template": {"spec": {"containers": [container, sidecar]}}}}
    path = f"{namespace}/deployments/web"
    body = (await api.call("PATCH", path, patch, content_type=STRATEGIC_PATCH)).body
    containers = {one["name"]: one for one in body["spec"]["template"]["spec"]["containers"]}
    assert containers["main"]["image"] == "example/app"
    assert containers["main"]["env"] == [{"name": "A", "value": "1"}]
    assert set(containers) == {"main", "sidecar"}
    removal = {"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "$patch": "delete"}]}}}}
    body = (await api.call("PATCH", path, removal, content_type=STRATEGIC_PATCH)).body
    assert [one["name"] for one in body["spec"]["template"]["spec"]["containers"]] == ["main"]


async def test_unknown_patch_formats_are_refused(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("one"))
    answer = await api.call("PATCH", f"{namespace}/configmaps/one", {}, content_type="application/x-other")
    assert (answer.status, answer.reason) == (415, "UnsupportedMediaType")
