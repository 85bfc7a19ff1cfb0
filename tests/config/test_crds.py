"""The definitions that are checked in, and that they refuse what the code that reads the objects refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cel_expr_python import cel

from isthmus.config.crds import DEFINITIONS, crd, crd_yaml, file_name
from isthmus.config.errors import ConfigRefused
from isthmus.config.peer_authentication import KIND, read_peer_authentication
from isthmus.lab.apiserver.structural import validate

TREE = Path(__file__).parents[2]
Json = dict[str, Any]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=file_name)
def test_the_crd_that_is_checked_in_is_current(definition: Any) -> None:
    file = TREE / "install/kubernetes/helm/istio/crds" / file_name(definition)
    assert file.read_text() == crd_yaml(definition), "run: python -m isthmus.config.crds " + str(file.parent)
    assert yaml.safe_load(file.read_text()) == crd(definition)


def test_schemas_are_structural_and_one_version_is_stored() -> None:
    def holds(schema: Json) -> None:
        assert schema["type"] in ("object", "array", "string", "integer", "boolean")
        assert not {"$ref", "anyOf", "oneOf", "definitions"} & schema.keys()
        for inner in schema.get("properties", {}).values():
            holds(inner)
        for key in ("items", "additionalProperties"):
            if key in schema:
                holds(schema[key])

    for definition in DEFINITIONS:
        versions = crd(definition)["spec"]["versions"]
        for version in versions:
            holds(version["schema"]["openAPIV3Schema"])
        assert sum(version["storage"] for version in versions) == 1


def faults(schema: Json, value: Any) -> Iterator[str]:
    """What an API server from 1.25 on holds against a value: its schema's faults and its rules' messages."""
    yield from (str(cause) for cause in validate(schema, value))
    yield from rule_faults(schema, value)


def rule_faults(schema: Json, value: Any) -> Iterator[str]:
    environment = cel.NewEnv(variables={"self": cel.Type.DYN})
    for rule in schema.get("x-kubernetes-validations", ()):
        found = environment.compile(rule["rule"]).eval(data={"self": value})
        if found.value() is not True:
            yield rule["message"]
    if isinstance(value, dict):
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            below = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            if below:
                yield from rule_faults(below, inner)


MANY: Json = {str(port): {} for port in range(1, 1002)}
LABELS = {"matchLabels": {"app": "web"}}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, None),
        ({"mtls": {}}, None),
        ({"mtls": {"mode": "STRICT"}, "selector": {}}, None),
        ({"selector": LABELS, "portLevelMtls": {"8080": {"mode": "DISABLE"}, "65535": {}}}, None),
        ({"mtls": {"mode": "strict"}}, "spec.mtls.mode"),
        ({"mtls": "STRICT"}, "spec.mtls"),
        ({"portLevelMtls": {"8080": {"mode": "STRICT"}}}, "spec.portLevelMtls"),
        ({"selector": {"matchLabels": {}}, "portLevelMtls": {"80": {}}}, "spec.portLevelMtls"),
        ({"selector": LABELS, "portLevelMtls": {}}, "spec.portLevelMtls"),
        ({"selector": LABELS, "portLevelMtls": {"0": {"mode": "STRICT"}}}, "spec.portLevelMtls"),
        ({"selector": LABELS, "portLevelMtls": {"65536": {}}}, "spec.portLevelMtls"),
        ({"selector": LABELS, "portLevelMtls": {"http": {}}}, "spec.portLevelMtls"),
        ({"selector": LABELS, "portLevelMtls": {"80": {"mode": "NONE"}}}, "spec.portLevelMtls[...].mode"),
        (
            {"selector": LABELS, "portLevelMtls": MANY},
            "spec.portLevelMtls",
        ),
        ({"selector": {"matchLabels": {"": "web"}}}, "spec.selector.matchLabels"),
        ({"selector": {"matchLabels": {"app": "w*"}}}, "spec.selector.matchLabels"),
        ({"selector": {"matchLabels": {"ap*": "web"}}}, "spec.selector.matchLabels"),
        ({"selector": {"matchLabels": {"app": "w" * 64}}}, "spec.selector.matchLabels[...]"),
        ({"selector": {"matchLabels": {"app": 1}}}, "spec.selector.matchLabels[...]"),
    ],
)
def test_a_peer_authentication_is_refused_by_the_api_server_and_by_its_reader_alike(
    spec: Json, field: str | None
) -> None:
    (definition,) = (each for each in DEFINITIONS if each.kind == KIND)
    for version in crd(definition)["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        assert bool([*faults(schema, spec)]) == (field is not None)
    found = {"metadata": {"name": "default", "namespace": "demo"}, "spec": spec}
    if field is None:
        read_peer_authentication(found)
        return
    with pytest.raises(ConfigRefused, match="PeerAuthentication demo/default: ") as refusal:
        read_peer_authentication(found)
    assert refusal.value.field == field


def test_a_misspelt_field_is_refused_for_it_would_protect_nothing() -> None:
    with pytest.raises(ConfigRefused, match="unknown field `mtsl`"):
        read_peer_authentication({"metadata": {"name": "a"}, "spec": {"mtsl": {"mode": "STRICT"}}})
