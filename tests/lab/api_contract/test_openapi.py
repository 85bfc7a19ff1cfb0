"""OpenAPI: what clients learn of kinds and fields."""

from typing import Any

import pytest

from tests.lab.api_contract.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _schema(api: Api, place: str, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of a kind, and all schemas of its document."""
    index = (await api.call("GET", "/openapi/v3")).body["paths"]
    schemas = (await api.call("GET", index[place]["serverRelativeURL"])).body["components"]["schemas"]
    group, _, version = place.partition("/")[2].rpartition("/")
    wanted = {"group": group, "version": version, "kind": kind}
    (found,) = [
        one for one in schemas.values() if wanted in (one.get("x-kubernetes-group-version-kind") or [])
    ]
    return found, schemas


def _field(schemas: dict[str, Any], schema: dict[str, Any], *path: str) -> dict[str, Any]:
    """The schema of a field as it stands; on the way there, references and lists are followed."""
    for name in path:
        whole = schema.get("items", schema)
        for one in (whole, *whole.get("allOf", ())):
            if "$ref" in one:
                whole = schemas[one["$ref"].rpartition("/")[2]]
        schema = whole["properties"][name]
    return schema


async def test_fields_of_built_in_kinds_are_described(api: Api) -> None:
    schema, schemas = await _schema(api, "apis/apps/v1", "Deployment")
    assert _field(schemas, schema, "spec", "replicas")["type"] == "integer"
    ports = _field(schemas, schema, "spec", "template", "spec", "containers", "ports")
    assert ports["x-kubernetes-list-map-keys"] == ["containerPort", "protocol"]
    name = _field(schemas, schema, "metadata", "name")
    assert name["type"] == "string"


async def test_hash_of_a_document_stays_while_its_kinds_do(api: Api) -> None:
    first = (await api.call("GET", "/openapi/v3")).body["paths"]["api/v1"]
    assert "?hash=" in first["serverRelativeURL"]
    assert (await api.call("GET", "/openapi/v3")).body["paths"]["api/v1"] == first


async def test_patch_says_that_fields_can_be_validated(api: Api) -> None:
    paths = (await api.call("GET", "/openapi/v3/api/v1")).body["paths"]
    patch = paths["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"]
    names = {one["name"] for one in patch["parameters"]}
    assert names >= {"dryRun", "fieldManager", "fieldValidation", "force"}
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}


async def test_older_clients_are_told_all_kinds_at_once(api: Api) -> None:
    whole = await api.call("GET", "/openapi/v2")
    assert (whole.body["swagger"], whole.headers["Content-Type"]) == ("2.0", "application/json")
    known = whole.body["definitions"]
    deployment = known["io.k8s.api.apps.v1.Deployment"]
    kind = {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert deployment["x-kubernetes-group-version-kind"] == [kind]
    name = deployment["properties"]["spec"]["$ref"].rpartition("/")[2]
    assert known[name]["properties"]["replicas"]["type"] == "integer"
    patch = whole.body["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    parameters = [
        whole.body["parameters"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        for one in patch["parameters"]
    ]
    queried = {one["name"] for one in parameters if one["in"] == "query"}
    assert queried >= {"dryRun", "fieldManager", "fieldValidation", "force"}
    accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    async with api.session.get(api.url + "/openapi/v2", headers={"Accept": accept}) as answer:
        assert answer.headers["Content-Type"] == accept.replace("@", ".")
        assert (await answer.read())[:5] == b"\x0a\x032.0"


async def test_groups_that_are_not_served_have_no_document(api: Api) -> None:
    assert (await api.call("GET", "/openapi/v3/apis/none.example.com/v1")).status == 404
