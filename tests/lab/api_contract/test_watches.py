"""Watches: every change once, in order, and resumable."""

import asyncio
import json

import pytest

from tests.lab.api_contract.api import MERGE_PATCH, Api, config_map

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_watch_tells_each_change_once_in_order(api: Api) -> None:
    namespace = await api.namespace()
    listed = (await api.call("GET", f"{namespace}/configmaps")).body
    since = listed["metadata"]["resourceVersion"]
    async with api.watching(f"{namespace}/configmaps", resourceVersion=since) as events:
        await api.call("POST", f"{namespace}/configmaps", config_map("one", a="1"))
        patch = {"data": {"a": "2"}}
        await api.call("PATCH", f"{namespace}/configmaps/one", patch, content_type=MERGE_PATCH)
        await api.call("DELETE", f"{namespace}/configmaps/one")
        seen = [await anext(events) for _ in range(3)]
    assert [one["type"] for one in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert [one["object"]["data"]["a"] for one in seen] == ["1", "2", "2"]
    versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in seen]
    assert versions == sorted(set(versions))
    assert all(one["object"]["kind"] == "ConfigMap" for one in seen)


async def test_a_watch_resumes_after_a_version(api: Api) -> None:
    namespace = await api.namespace()
    first = (await api.call("POST", f"{namespace}/configmaps", config_map("one"))).body
    await api.call("POST", f"{namespace}/configmaps", config_map("two"))
    since = first["metadata"]["resourceVersion"]
    async with api.watching(f"{namespace}/configmaps", resourceVersion=since) as events:
        assert (await anext(events))["object"]["metadata"]["name"] == "two"


async def test_a_watch_without_a_version_begins_with_what_is_there(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("one"))
    async with api.watching(f"{namespace}/configmaps") as events:
        event = await anext(events)
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "one")


async def test_an_object_that_leaves_the_selection_is_deleted_to_its_watcher(api: Api) -> None:
    namespace = await api.namespace()
    since = (await api.call("GET", f"{namespace}/configmaps")).body["metadata"]["resourceVersion"]
    selection = {"labelSelector": "in=yes", "resourceVersion": since}
    async with api.watching(f"{namespace}/configmaps", **selection) as events:
        body = config_map("one") | {"metadata": {"name": "one", "labels": {"in": "yes"}}}
        await api.call("POST", f"{namespace}/configmaps", body)
        patch = {"metadata": {"labels": {"in": "no"}}}
        await api.call("PATCH", f"{namespace}/configmaps/one", patch, content_type=MERGE_PATCH)
        seen = [await anext(events) for _ in range(2)]
    assert [one["type"] for one in seen] == ["ADDED", "DELETED"]


async def test_a_streamed_list_ends_with_a_marked_bookmark(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("one"))
    streamed = {
        "sendInitialEvents": "true",
        "allowWatchBookmarks": "true",
        "resourceVersionMatch": "NotOlderThan",
    }
    async with api.watching(f"{namespace}/configmaps", **streamed) as events:
        added, mark = [await anext(events) for _ in range(2)]
    assert (added["type"], mark["type"]) == ("ADDED", "BOOKMARK")
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_ends_when_its_time_is_over(api: Api) -> None:
    namespace = await api.namespace()
    async with api.watching(f"{namespace}/configmaps", timeoutSeconds=1) as events:
        async with asyncio.timeout(5):
            assert [event async for event in events] == []


async def test_a_watch_of_metadata_or_tables_has_that_form_to_its_bookmarks(api: Api) -> None:
    namespace = await api.namespace()
    path = f"{namespace}/configmaps"
    for name in ("one", "two"):
        await api.call("POST", path, config_map(name, a="b"))
    for form in ("PartialObjectMetadata", "Table"):
        accept = f"application/json;as={form};v=v1;g=meta.k8s.io"
        query = {"watch": "1", "allowWatchBookmarks": "true", "labelSelector": "!absent"}
        headers = {"Accept": accept}
        async with api.session.get(api.url + path, params=query, headers=headers) as response:
            events = [json.loads(await response.content.readline()) for _ in range(3)]
        assert [event["type"] for event in events] == ["ADDED", "ADDED", "BOOKMARK"]
        assert {event["object"]["kind"] for event in events} == {form}
        if form == "Table":
            titles = [event["object"]["columnDefinitions"] for event in events]
            assert [bool(one) for one in titles] == [True, False, False]
            assert events[1]["object"]["rows"][0]["cells"][0] == "two"
        else:
            assert events[2]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_one_object_is_got_even_where_a_watch_is_asked_for(api: Api) -> None:
    namespace = await api.namespace()
    made = (await api.call("POST", f"{namespace}/configmaps", config_map("one"))).body
    assert (await api.call("GET", f"{namespace}/configmaps/one", watch="true")).body == made
