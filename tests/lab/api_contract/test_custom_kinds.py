"""CustomResourceDefinitions, and objects of the kinds that they define."""

import asyncio
from itertools import count
from typing import Any

import pytest

from tests.lab.api_contract.api import MERGE_PATCH, STRATEGIC_PATCH, Api, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
APPLY = "application/apply-patch+yaml"
_NUMBERS = count(1)
_SPEC = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "label": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "port": {"x-kubernetes-int-or-string": True},
        "replicas": {"type": "integer"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "parts": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["id"],
            "items": {
                "type": "object",
                "required": ["id"],
                "properties": {"id": {"type": "string"}, "weight": {"type": "integer"}},
            },
        },
    },
}
_STATUS = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_SCHEMA = {"type": "object", "properties": {"spec": _SPEC, "status": _STATUS}}
_COLUMNS = [
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
]


def _version(name: str, *, storage: bool = True, **more: Any) -> dict[str, Any]:
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": _SCHEMA}, **more}


def _definition(group: str, *versions: dict[str, Any], **names: Any) -> dict[str, Any]:
    named = {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], **names}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{named['plural']}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": named, "versions": [*versions]},
    }


def _group() -> str:
    return f"group{next(_NUMBERS)}.example.com"


async def _established(api: Api, definition: dict[str, Any]) -> dict[str, Any]:
    """The definition as it is stored once it is served, and every way to discover it says so."""
    answer = await api.call("POST", DEFINITIONS, definition)
    assert answer.status == 201, answer.body
    path = f"{DEFINITIONS}/{definition['metadata']['name']}"

    async def served() -> bool:
        found: dict[str, Any] = (await api.call("GET", path)).body
        told: list[Any] = found.get("status", {}).get("conditions") or []
        conditions = {one["type"]: one["status"] for one in told}
        group, versions = found["spec"]["group"], [one["name"] for one in found["spec"]["versions"]]
        listed = await api.call("GET", f"/apis/{group}/{versions[0]}/widgets")
        known = (await api.call("GET", f"/apis/{group}")).body
        discovered = [await api.call("GET", f"/apis/{group}/{version}") for version in versions]
        return (
            conditions.get("Established") == "True"
            and {one.status for one in (listed, *discovered)} == {200}
            and {one["version"] for one in known["versions"]} == {*versions}
        )

    await eventually(served)
    return (await api.call("GET", path)).body


async def _widgets(api: Api, *versions: dict[str, Any]) -> tuple[str, str]:
    """A new custom kind; the path of its objects in a new namespace, and its group."""
    group = _group()
    chosen = versions or (_version("v1", subresources={"status": {}}, additionalPrinterColumns=_COLUMNS),)
    await _established(api, _definition(group, *chosen))
    namespace = (await api.namespace()).rpartition("/")[2]
    return f"/apis/{group}/{chosen[0]['name']}/namespaces/{namespace}/widgets", group


def _widget(path: str, name: str, **spec: Any) -> dict[str, Any]:
    _, _, group, version, *_ = path.split("/")
    return {"apiVersion": f"{group}/{version}", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


async def test_definition_is_completed_and_established(api: Api) -> None:
    found = await _established(api, _definition(_group(), _version("v1")))
    names = {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "singular": "widget"}
    assert found["status"]["acceptedNames"] == {**names, "listKind": "WidgetList"}
    assert found["status"]["storedVersions"] == ["v1"]
    assert found["spec"]["conversion"] == {"strategy": "None"}
    conditions = {one["type"]: one["reason"] for one in found["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "NoConflicts", "Established": "InitialNamesAccepted"}


async def test_custom_kinds_are_discovered(api: Api) -> None:
    path, group = await _widgets(api)
    listed = (await api.call("GET", f"/apis/{group}/v1")).body["resources"]
    assert [one["name"] for one in listed] == ["widgets", "widgets/status"]
    assert (listed[0]["singularName"], listed[0]["shortNames"]) == ("widget", ["wd"])
    assert (await api.call("GET", path)).body["kind"] == "WidgetList"


async def test_objects_are_defaulted_pruned_and_validated(api: Api) -> None:
    path, _ = await _widgets(api)
    body = _widget(path, "one", size=1, other=2, free={"a": {"b": 1}}, port="http")
    created = await api.call("POST", path, body, fieldValidation="Ignore")
    assert created.body["spec"] == {"size": 1, "colour": "red", "free": {"a": {"b": 1}}, "port": "http"}
    assert created.body["metadata"]["generation"] == 1
    strict = await api.call("POST", path, _widget(path, "two", size=1, other=2), fieldValidation="Strict")
    assert (strict.status, strict.reason) == (400, "BadRequest")
    assert 'unknown field "spec.other"' in strict.message


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({}, "spec.size: Required value"),
        ({"size": "1"}, 'spec.size: Invalid value: "string": spec.size in body must be of type integer'),
        ({"size": 0}, "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        ({"size": 10}, "spec.size in body should be less than or equal to 9"),
        (
            {"size": 1, "colour": "green"},
            'spec.colour: Unsupported value: "green": supported values: "red", "blue"',
        ),
        ({"size": 1, "label": "A"}, "spec.label in body should match '^[a-z]+$'"),
        ({"size": 1, "label": "abcdef"}, "spec.label: Too long: may not be more than 5 bytes"),
        ({"size": 1, "parts": [{"id": "a"}, {"id": "a"}]}, "spec.parts[1]: Duplicate value"),
    ],
    ids=["required", "type", "minimum", "maximum", "enum", "pattern", "length", "keys"],
)
async def test_faults_are_named_by_field(api: Api, spec: dict[str, Any], fault: str) -> None:
    path, _ = await _widgets(api)
    refused = await api.call("POST", path, _widget(path, "one", **spec))
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert refused.message.startswith(f'Widget.{path.split("/")[2]} "one" is invalid: ')
    assert fault in refused.message


async def test_status_is_written_apart_from_the_rest(api: Api) -> None:
    path, _ = await _widgets(api)
    body = {**_widget(path, "one", size=1), "status": {"a": 1}}
    created = await api.call("POST", path, body)
    assert "status" not in created.body
    patch = {"status": {"ready": True}, "spec": {"size": 5}}
    patched = await api.call("PATCH", f"{path}/one/status", patch, content_type=MERGE_PATCH)
    assert (patched.body["status"], patched.body["spec"]["size"]) == ({"ready": True}, 1)
    assert patched.body["metadata"]["generation"] == 1
    changed = await api.call("PATCH", f"{path}/one", {"spec": {"size": 2}}, content_type=MERGE_PATCH)
    assert (changed.body["status"], changed.body["metadata"]["generation"]) == ({"ready": True}, 2)


async def test_scale_reads_and_writes_where_the_definition_says(api: Api) -> None:
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.count"}
    path, _ = await _widgets(api, _version("v1", subresources={"status": {}, "scale": scale}))
    await api.call("POST", path, _widget(path, "one", size=1, replicas=2))
    assert (await api.call("GET", f"{path}/one/scale")).body["spec"] == {"replicas": 2}
    patch = {"spec": {"replicas": 4}}
    patched = await api.call("PATCH", f"{path}/one/scale", patch, content_type=MERGE_PATCH)
    assert patched.body["spec"] == {"replicas": 4}
    assert (await api.call("GET", f"{path}/one")).body["spec"]["replicas"] == 4


async def test_tables_have_the_definitions_columns(api: Api) -> None:
    path, _ = await _widgets(api)
    await api.call("POST", path, _widget(path, "one", size=3))
    status = {
        "status": {"conditions": [{"type": "Other", "status": "x"}, {"type": "Ready", "status": "True"}]}
    }
    await api.call("PATCH", f"{path}/one/status", status, content_type=MERGE_PATCH)
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    table = (await api.call("GET", path, headers=accept)).body
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Size", "Ready"]
    assert table["rows"][0]["cells"] == ["one", 3, "True"]


async def test_patches_and_applies_follow_the_schema(api: Api) -> None:
    path, _ = await _widgets(api)

    async def apply(manager: str, *parts: dict[str, Any]) -> Any:
        body = _widget(path, "one", size=1, parts=[*parts])
        answer = await api.call("PATCH", f"{path}/one", body, content_type=APPLY, fieldManager=manager)
        return answer.body["spec"]["parts"]

    await apply("a", {"id": "x", "weight": 1})
    assert await apply("b", {"id": "y"}) == [{"id": "x", "weight": 1}, {"id": "y"}]
    assert await apply("a", {"id": "z"}) == [{"id": "y"}, {"id": "z"}]
    refused = await api.call("PATCH", f"{path}/one", {}, content_type=STRATEGIC_PATCH)
    assert (refused.status, refused.reason) == (415, "UnsupportedMediaType")


async def test_every_served_version_shows_the_same_objects(api: Api) -> None:
    path, group = await _widgets(api, _version("v1beta1", storage=False), _version("v1"))
    await api.call("POST", path, _widget(path, "one", size=1))
    newer = path.replace("v1beta1", "v1")
    assert (await api.call("GET", f"{newer}/one")).body["apiVersion"] == f"{group}/v1"
    assert (await api.call("GET", f"{path}/one")).body["apiVersion"] == f"{group}/v1beta1"
    assert (await api.call("GET", path)).body["items"][0]["spec"] == {"size": 1, "colour": "red"}
    async with api.watching(path) as events, asyncio.timeout(10):
        first = await anext(events)
    assert (first["type"], first["object"]["apiVersion"]) == ("ADDED", f"{group}/v1beta1")
    preferred = (await api.call("GET", f"/apis/{group}")).body["preferredVersion"]["version"]
    assert preferred == "v1"


async def test_deleting_the_definition_deletes_its_objects_first(api: Api) -> None:
    path, group = await _widgets(api)
    held = _widget(path, "held", size=1)
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api.call("POST", path, held)
    await api.call("POST", path, _widget(path, "free", size=1))
    definition = f"{DEFINITIONS}/widgets.{group}"
    await api.call("DELETE", definition)

    async def only_held_is_left() -> bool:
        listed = (await api.call("GET", path)).body
        return [one["metadata"]["name"] for one in listed["items"]] == ["held"]

    await eventually(only_held_is_left)
    conditions = (await api.call("GET", definition)).body["status"]["conditions"]
    assert ("Terminating", "True") in {(one["type"], one["status"]) for one in conditions}
    refused = await api.call("POST", path, _widget(path, "late", size=1))
    assert (refused.status, refused.reason) == (403, "Forbidden")
    assert refused.message.endswith("create not allowed while custom resource definition is terminating")
    release = {"metadata": {"finalizers": None}}
    await api.call("PATCH", f"{path}/held", release, content_type=MERGE_PATCH)

    async def nothing_is_left() -> bool:
        statuses = [(await api.call("GET", each)).status for each in (definition, path, f"/apis/{group}/v1")]
        return statuses == [404, 404, 404]

    await eventually(nothing_is_left)


async def test_watches_end_with_their_kind(api: Api) -> None:
    path, group = await _widgets(api)
    await api.call("POST", path, _widget(path, "one", size=1))
    async with api.watching(path) as events, asyncio.timeout(60):
        assert (await anext(events))["type"] == "ADDED"
        await api.call("DELETE", f"{DEFINITIONS}/widgets.{group}")
        async for _ in events:
            pass


async def test_definitions_that_make_no_sense_are_refused(api: Api) -> None:
    async def refusal(definition: dict[str, Any]) -> str:
        answer = await api.call("POST", DEFINITIONS, definition)
        assert answer.status == 422, answer.body
        return answer.message

    group = _group()
    misnamed = _definition(group, _version("v1"))
    misnamed["metadata"]["name"] = "widgets.other.example.com"
    assert 'must be spec.names.plural+"."+spec.group' in await refusal(misnamed)
    twice = _definition(group, _version("v1"), _version("v2"))
    assert "must have exactly one version marked as storage version" in await refusal(twice)
    bare = _definition(group, _version("v1", schema={}))
    assert "spec.versions[0].schema.openAPIV3Schema: Required value" in await refusal(bare)
    loose: dict[str, Any] = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {}}}}
    alone = await refusal(_definition(group, _version("v1", schema=loose)))
    assert "spec.validation.openAPIV3Schema.properties[spec].type: Required value" in alone
    second = _definition(group, _version("v1"), _version("v2", storage=False, schema=loose))
    path = "spec.versions[1].schema.openAPIV3Schema.properties[spec].type"
    assert f"{path}: Required value" in await refusal(second)
    nowhere = _definition(group, _version("v1"))
    nowhere["spec"]["scope"] = "Everywhere"
    assert 'spec.scope: Unsupported value: "Everywhere"' in await refusal(nowhere)
