"""What is said in query and headers: options that make no sense, forms of answers, paths that are none."""

import json
from typing import Any

import pytest
import yaml

from tests.lab.api_contract.api import JSON_PATCH, MERGE_PATCH, Answer, Api, config_map

pytestmark = pytest.mark.asyncio(loop_scope="session")


def causes(answer: Answer) -> list[tuple[str, str]]:
    return [(one["field"], one["message"]) for one in answer.body["details"]["causes"]]


@pytest.mark.parametrize(
    ("method", "options", "kind", "expected"),
    [
        (
            "POST",
            {"dryRun": "Some"},
            "CreateOptions",
            [("dryRun", 'Unsupported value: ["Some"]: supported values: "All"')],
        ),
        (
            "POST",
            {"fieldManager": "m" * 129, "fieldValidation": "Lax"},
            "CreateOptions",
            [
                ("fieldManager", "Too long: may not be more than 128 bytes"),
                (
                    "fieldValidation",
                    'Unsupported value: "Lax": supported values: "", "Ignore", "Strict", "Warn"',
                ),
            ],
        ),
        (
            "PUT",
            {"fieldManager": "a\tb"},
            "UpdateOptions",
            [("fieldManager", 'Invalid value: "a\\tb": invalid character U+0009 (at position 1)')],
        ),
        (
            "PATCH",
            {"force": "true"},
            "PatchOptions",
            [("force", "Forbidden: may not be specified for non-apply patch")],
        ),
        (
            "DELETE",
            {"propagationPolicy": "Gently"},
            "DeleteOptions",
            [
                (
                    "propagationPolicy",
                    'Unsupported value: "Gently": '
                    'supported values: "Foreground", "Background", "Orphan", "nil"',
                )
            ],
        ),
        (
            "DELETE",
            {"propagationPolicy": "Orphan", "orphanDependents": "true"},
            "DeleteOptions",
            [
                (
                    "propagationPolicy",
                    'Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set',
                )
            ],
        ),
        (
            "DELETE",
            {"dryRun": "Some"},
            "DeleteOptions",
            [("dryRun", 'Unsupported value: ["Some"]: supported values: "All"')],
        ),
    ],
)
async def test_options_that_make_no_sense_are_refused_and_nothing_is_done(
    api: Api, method: str, options: dict[str, Any], kind: str, expected: list[tuple[str, str]]
) -> None:
    namespace = await api.namespace()
    made = (await api.call("POST", f"{namespace}/configmaps", config_map("there"))).body
    path = f"{namespace}/configmaps" + ("" if method == "POST" else "/there")
    body = {
        "POST": config_map("new"),
        "PUT": {**made, "data": {"a": "b"}},
        "PATCH": {"data": {"a": "b"}},
    }.get(method)
    refused = await api.call(
        method, path, body, content_type=MERGE_PATCH if method == "PATCH" else "application/json", **options
    )
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert refused.message.startswith(f'{kind}.meta.k8s.io "" is invalid: ')
    assert (refused.body["details"]["group"], refused.body["details"]["kind"]) == ("meta.k8s.io", kind)
    assert causes(refused) == expected
    left = (await api.call("GET", f"{namespace}/configmaps")).body["items"]
    kept = [one for one in left if one["metadata"]["name"] in ("there", "new")]
    assert [(one["metadata"]["name"], one.get("data")) for one in kept] == [("there", None)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"resourceVersionMatch": "Exact"},
            ["Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"],
        ),
        (
            {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
            ['Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'],
        ),
        (
            {"resourceVersionMatch": "Nearly", "resourceVersion": "1"},
            ['Unsupported value: "Nearly": supported values: "Exact", "NotOlderThan", ""'],
        ),
        ({"sendInitialEvents": "true"}, ["Forbidden: sendInitialEvents is forbidden for list"]),
        (
            {"sendInitialEvents": "true", "watch": "1"},
            ["Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"],
        ),
        (
            {"resourceVersionMatch": "Exact", "watch": "1"},
            [
                "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                'Unsupported value: "Exact": supported values: "NotOlderThan"',
            ],
        ),
    ],
)
async def test_versions_that_cannot_be_matched_are_refused(
    api: Api, options: dict[str, Any], expected: list[str]
) -> None:
    refused = await api.call("GET", "/api/v1/configmaps", **options)
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert refused.message.startswith('ListOptions.meta.k8s.io "" is invalid: ')
    assert [message for _, message in causes(refused)] == expected


async def test_paths_that_are_none_are_told_apart_from_resources_that_are_none(api: Api) -> None:
    for path in (
        "/nothing",
        "/apis/nothing.example.com",
        "/apis/nothing.example.com/v1/things",
        "/healthz/nothing",
    ):
        answer = await api.call("GET", path)
        assert (answer.status, answer.body) == (404, "404 page not found\n"), path
    for path in ("/api/v1/things", "/apis/apps/v9", "/api/v1/pods/one", "/api/v1/namespaces/default/nodes"):
        answer = await api.call("GET", path)
        assert (answer.status, answer.reason) == (404, "NotFound"), path
        assert answer.message == "the server could not find the requested resource"
        assert answer.body["details"] == {}
    for method, path in (
        ("POST", "/api/v1/pods"),
        ("DELETE", "/api/v1/namespaces"),
        ("PUT", "/api/v1/nodes"),
    ):
        answer = await api.call(method, path, {})
        assert (answer.status, answer.reason) == (405, "MethodNotAllowed"), path
        assert answer.message == "the server does not allow this method on the requested resource"
        assert answer.body["details"] == {}
    assert {"/api/v1", "/apis/apps/v1", "/version"} <= set((await api.call("GET", "/")).body["paths"])
    assert "[+]ping ok\n" in (await api.call("GET", "/livez?verbose")).body


async def test_forms_that_are_not_there_are_not_acceptable(api: Api) -> None:
    for path, kind in (("default", "Namespace"), ("nobody", "Status")):
        url, accept = f"/api/v1/namespaces/{path}", {"Accept": "application/yaml, application/json"}
        written = await api.call("GET", url, headers=accept)
        assert written.headers["Content-Type"] == "application/yaml"
        assert yaml.safe_load(written.body)["kind"] == kind
    refused = await api.call("GET", "/api/v1/configmaps", headers={"Accept": "text/html"})
    assert (refused.status, refused.reason) == (406, "NotAcceptable")
    accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    assert refused.message == f"only the following media types are accepted: {accepted}"
    table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    refused = await api.call("GET", "/api/v1/configmaps", headers=table, includeObject="Some")
    text = 'Unable to convert to Table as requested: includeObject: Invalid value: "Some"'
    assert (refused.status, refused.message.startswith(text)) == (400, True)
    whole = await api.call("GET", "/api/v1/namespaces", headers=table, includeObject="Object")
    assert {row["object"]["kind"] for row in whole.body["rows"]} == {"Namespace"}


async def test_patches_warn_of_fields_that_their_kind_has_not(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("one"))
    path, odd = f"{namespace}/configmaps/one", {"colour": "red", "data": {"a": "b"}}
    warned = await api.call("PATCH", path, odd, content_type=MERGE_PATCH)
    assert (warned.status, warned.headers["Warning"]) == (200, '299 - "unknown field \\"colour\\""')
    silent = await api.call("PATCH", path, odd, content_type=MERGE_PATCH, fieldValidation="Ignore")
    assert "Warning" not in silent.headers
    renamed = [{"op": "replace", "path": "/metadata/name", "value": "two"}]
    refused = await api.call("PATCH", path, renamed, content_type=JSON_PATCH)
    text = "the name of the object (two) does not match the name on the URL (one)"
    assert (refused.status, refused.message) == (400, text)
    moved = [{"op": "replace", "path": "/metadata/namespace", "value": "other"}]
    refused = await api.call("PATCH", path, moved, content_type=JSON_PATCH)
    assert (refused.status, refused.message.startswith("the namespace of the object (other) does not")) == (
        400,
        True,
    )


async def test_metadata_that_breaks_rules_is_refused_field_by_field(api: Api) -> None:
    namespace = await api.namespace()
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}
    meta: dict[str, Any] = {
        "generateName": "Bad-",
        "labels": {"a/b/c": "x", "long": "v" * 64},
        "ownerReferences": [{**owner, "uid": ""}, owner],
        "finalizers": ["short", "orphan", "foregroundDeletion"],
    }
    refused = await api.call("POST", f"{namespace}/configmaps", {"metadata": meta})
    assert refused.status == 422
    told = causes(refused)
    fields = [field for field, _ in told]
    assert fields[:2] == ["metadata.generateName", "metadata.name"]
    assert ("metadata.labels", f'Invalid value: "{"v" * 64}": must be no more than 63 bytes') in told
    assert any(
        message.startswith('Invalid value: "a/b/c": a valid label key must consist of') for _, message in told
    )
    assert ("metadata.ownerReferences.uid", 'Invalid value: "": must not be empty') in told
    assert any(
        message.endswith('set to true. Found "true" in references for Pod/p and Pod/p') for _, message in told
    )
    unqualified = (
        'Invalid value: "short": name is neither a standard finalizer name nor is it fully qualified'
    )
    assert ("metadata.finalizers[0]", unqualified) in told
    assert any("orphan and foregroundDeletion cannot be both set" in message for _, message in told)
    held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    await api.call("POST", f"{namespace}/configmaps", held)
    await api.call("DELETE", f"{namespace}/configmaps/held")
    more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    refused = await api.call("PATCH", f"{namespace}/configmaps/held", more, content_type=MERGE_PATCH)
    text = (
        "Forbidden: no new finalizers can be added if the object is being deleted,"
        ' found new finalizers []string{"example.com/more"}'
    )
    assert (refused.status, causes(refused)) == (422, [("metadata.finalizers", text)])


async def test_a_list_or_watch_without_a_version_is_marked_where_it_ends(api: Api) -> None:
    """As clients are told since watches stream lists by default (KEP-3157)."""
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("one"))
    selected: dict[str, Any] = {"fieldSelector": "metadata.name=one"}
    async with api.watching(f"{namespace}/configmaps", allowWatchBookmarks="true", **selected) as events:
        added, mark = [await anext(events) for _ in range(2)]
    assert (added["type"], mark["type"]) == ("ADDED", "BOOKMARK")
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    unmarked: dict[str, Any] = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "timeoutSeconds": "1",
    }
    async with api.watching(f"{namespace}/configmaps", **selected, **unmarked) as events:
        assert [event["type"] async for event in events] == ["ADDED"]
    since = (await api.call("GET", f"{namespace}/configmaps/one")).body["metadata"]["resourceVersion"]
    await api.call("POST", f"{namespace}/configmaps", config_map("two"))
    page = (await api.call("GET", f"{namespace}/configmaps", limit=500, resourceVersion=since)).body
    names = [one["metadata"]["name"] for one in page["items"]]
    assert ("one" in names, "two" in names, page["metadata"]["resourceVersion"]) == (True, False, since)


async def test_what_owns_dependents_and_goes_later_is_accepted_only(api: Api) -> None:
    namespace = await api.namespace()
    held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    await api.call("POST", f"{namespace}/configmaps", held)
    body = json.dumps({"orphanDependents": False}).encode()
    assert (await api.call("DELETE", f"{namespace}/configmaps/held", body)).status == 202
