"""Lists: pages, selectors, versions, tables."""

import pytest

from tests.lab.api_contract.api import Api, config_map, pod

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_lists_are_cut_into_pages_of_one_version(api: Api) -> None:
    namespace = await api.namespace()
    for name in ("a", "b", "c"):
        await api.call("POST", f"{namespace}/configmaps", config_map(name))
    first = (await api.call("GET", f"{namespace}/configmaps", limit=2)).body
    assert [one["metadata"]["name"] for one in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 1
    await api.call("DELETE", f"{namespace}/configmaps/c")
    token = first["metadata"]["continue"]
    second = (await api.call("GET", f"{namespace}/configmaps", limit=2, **{"continue": token})).body
    assert [one["metadata"]["name"] for one in second["items"]] == ["c"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]


async def test_items_of_a_list_carry_no_type(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("one"))
    answer = (await api.call("GET", f"{namespace}/configmaps")).body
    assert (answer["kind"], answer["apiVersion"]) == ("ConfigMapList", "v1")
    assert not {"kind", "apiVersion"} & set(answer["items"][0])


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("tier=front", ["a"]),
        ("tier!=front", ["b", "c"]),
        ("tier in (front, back)", ["a", "b"]),
        ("tier notin (front)", ["b", "c"]),
        ("tier", ["a", "b"]),
        ("!tier", ["c"]),
        ("tier=back,zone==x", ["b"]),
    ],
)
async def test_label_selectors_choose(api: Api, selector: str, expected: list[str]) -> None:
    namespace = await api.namespace()
    for name, labels in (("a", {"tier": "front"}), ("b", {"tier": "back", "zone": "x"}), ("c", {})):
        await api.call("POST", f"{namespace}/configmaps", {"metadata": {"name": name, "labels": labels}})
    found = (await api.call("GET", f"{namespace}/configmaps", labelSelector=selector)).body
    assert [one["metadata"]["name"] for one in found["items"]] == expected


async def test_field_selectors_choose_or_are_refused_by_name(api: Api) -> None:
    namespace = await api.namespace()
    for name in ("a", "b"):
        await api.call("POST", f"{namespace}/pods", pod(name))
    found = (await api.call("GET", f"{namespace}/pods", fieldSelector="metadata.name=b")).body
    assert [one["metadata"]["name"] for one in found["items"]] == ["b"]
    assert not (await api.call("GET", f"{namespace}/pods", fieldSelector="spec.nodeName=x")).body["items"]
    refused = await api.call("GET", f"{namespace}/pods", fieldSelector="spec.colour=red")
    assert (refused.status, refused.reason) == (400, "BadRequest")
    assert "field label not supported: spec.colour" in refused.message


async def test_a_version_of_the_future_is_not_waited_for_in_vain(api: Api) -> None:
    answer = await api.call("GET", "/api/v1/configmaps", resourceVersion=10**12)
    assert (answer.status, answer.reason) == (504, "Timeout")
    assert answer.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_tables_have_the_columns_that_people_know(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/pods", pod("one"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    table = (await api.call("GET", f"{namespace}/pods", headers={"Accept": accept})).body
    shown = [one["name"] for one in table["columnDefinitions"] if one["priority"] == 0]
    assert shown == ["Name", "Ready", "Status", "Restarts", "Age"]
    (row,) = table["rows"]
    assert row["cells"][:3] == ["one", "0/1", "Pending"]
    assert row["object"]["kind"] == "PartialObjectMetadata"
