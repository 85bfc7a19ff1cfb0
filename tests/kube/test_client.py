from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from isthmus import __version__
from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import CONFIG_MAP, ENDPOINT_SLICE, NODE, SERVICE, untyped
from tests.kube.fake_api import FakeApi, running_fake_api, status

CONFIG_MAPS = untyped("", "v1", "configmaps", "ConfigMap")
WIDGETS = untyped("example.com", "v1", "widgets", "Widget")


def named(name: str, namespace: str = "demo", **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, **meta}}


def reaching(api: FakeApi, **fields: Any) -> AbstractAsyncContextManager[Client]:
    return running_client(replace(api.access, **fields))


async def test_objects_are_created_read_changed_and_deleted() -> None:
    async with running_fake_api(CONFIG_MAP) as api, reaching(api) as client:
        made = await client.create(CONFIG_MAPS, named("a") | {"data": {"k": "1"}})
        assert (await client.get(CONFIG_MAP, "a", "demo")).data == {"k": "1"}
        await client.patch(CONFIG_MAPS, "a", {"data": {"k": None, "l": "2"}}, "demo")
        assert (await client.get(CONFIG_MAPS, "a", "demo"))["data"] == {"l": "2"}
        with pytest.raises(ApiError) as stale:
            await client.replace(CONFIG_MAPS, "a", made, "demo")
        assert stale.value.status == 409
        with pytest.raises(ApiError) as other:
            await client.delete(CONFIG_MAPS, "a", "demo", uid="another")
        assert other.value.reason == "Conflict"
        await client.delete(CONFIG_MAPS, "a", "demo", uid=made["metadata"]["uid"], grace_seconds=0)
        with pytest.raises(ApiError) as gone:
            await client.get(CONFIG_MAP, "a", "demo")
        assert (gone.value.status, gone.value.reason) == (404, "NotFound")


async def test_the_accesss_namespace_is_meant_where_none_is_named() -> None:
    async with running_fake_api(CONFIG_MAP) as api, reaching(api, namespace="mine") as client:
        await client.create(CONFIG_MAPS, {"metadata": {"name": "a"}})
        assert (await client.get(CONFIG_MAP, "a")).metadata.namespace == "mine"
    assert api.requests[0].path == "/api/v1/namespaces/mine/configmaps"


async def test_a_long_list_is_read_in_pages_at_one_version() -> None:
    async with running_fake_api(CONFIG_MAP) as api, reaching(api) as client:
        for number in range(1201):
            api.put(CONFIG_MAP, named(f"c{number:04}"))
        listing = await client.list(CONFIG_MAP)
    assert [item.metadata.name for item in listing.items] == [f"c{number:04}" for number in range(1201)]
    assert [request.query["limit"] for request in api.requests] == ["500"] * 3
    assert listing.resource_version == str(api.version)


async def test_a_list_that_expires_half_way_is_begun_again() -> None:
    async with running_fake_api(CONFIG_MAP) as api, reaching(api) as client:
        for number in range(700):
            api.put(CONFIG_MAP, named(f"c{number}"))
        expiries = 1

        async def expire(request: web.Request) -> web.Response | None:
            nonlocal expiries
            if "continue" in request.query and expiries:
                expiries -= 1
                return status(410, "Expired")
            return None

        api.intercept = expire
        assert len((await client.list(CONFIG_MAP)).items) == 700
        expiries = 99
        with pytest.raises(Unreachable, match="expired 3 times"):
            await client.list(CONFIG_MAP)


async def test_a_list_that_never_ends_is_noticed() -> None:
    async with running_fake_api(CONFIG_MAP) as api, reaching(api) as client:

        async def same_page(_: web.Request) -> web.Response:
            return web.json_response({"metadata": {"resourceVersion": "1", "continue": "x"}, "items": []})

        api.intercept = same_page
        with pytest.raises(Unreachable, match="does not advance"):
            await client.list(CONFIG_MAP)


async def test_selectors_and_namespaces_narrow_a_list() -> None:
    async with running_fake_api(CONFIG_MAP, NODE) as api, reaching(api) as client:
        api.put(CONFIG_MAP, named("a", labels={"app": "x"}))
        api.put(CONFIG_MAP, named("b"))
        api.put(CONFIG_MAP, named("a", "other", labels={"app": "x"}))
        found = await client.list(CONFIG_MAP, "demo", label_selector="app=x")
        assert [item.metadata.name for item in found.items] == ["a"]
        found = await client.list(CONFIG_MAP, field_selector="metadata.name=b")
        assert [item.metadata.name for item in found.items] == ["b"]


async def test_discovery_says_what_is_served() -> None:
    async with running_fake_api(SERVICE, ENDPOINT_SLICE, WIDGETS) as api, reaching(api) as client:
        assert await client.serves("discovery.k8s.io", "v1", "endpointslices")
        assert await client.serves("", "v1", "services")
        assert not await client.serves("", "v1", "pods")
        assert not await client.serves("discovery.k8s.io", "v1beta1", "endpointslices")


async def test_a_path_below_a_servers_url_is_kept_and_names_are_escaped() -> None:
    async with running_fake_api(CONFIG_MAP) as api:
        prefixed = api.access.server + "/k8s/clusters/c-1/"
        with pytest.raises(ApiError):
            async with reaching(api, server=prefixed) as client:
                await client.get(CONFIG_MAP, "a/../b?c", "demo")
    assert api.requests[0].raw_path == "/k8s/clusters/c-1/api/v1/namespaces/demo/configmaps/a%2F..%2Fb%3Fc"


async def test_every_request_says_who_asks() -> None:
    async with running_fake_api(CONFIG_MAP) as api, reaching(api, token="t0ken") as client:
        await client.list(CONFIG_MAP)
    assert api.requests[0].headers["User-Agent"] == f"isthmus/{__version__}"
    assert api.requests[0].headers["Authorization"] == "Bearer t0ken"
