"""OpenAPI v2, which clients before 1.27 learn kinds from: those of v3 as one, in its older words. Pure.

Source: Kubernetes "The Kubernetes API", OpenAPI V2; github.com/google/gnostic, OpenAPIv2.proto, for the form
that Go clients ask for.
"""

from collections.abc import Iterator, Mapping

from isthmus.lab.apiserver import openapi
from isthmus.lab.apiserver.discovery import VERSION
from isthmus.lab.apiserver.objects import Object, encode, items, section
from isthmus.lab.apiserver.served import Kinds
from isthmus.lib.protobuf import text

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ASKED_AS = (PROTOBUF, PROTOBUF.replace("v2.v1", "v2@v1"))
"""How Accept headers name it: the second is no media type, and what Go clients send."""
_V3, _V2 = "#/components/schemas/", "#/definitions/"
_KEPT = ("type", "format", "description", "required")
"""What means the same in both; what else there is (`oneOf`, `nullable`) v2 cannot say, and leaves open."""
_TYPELESS = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string")


def document_v2(kinds: Kinds) -> Object:
    """`/openapi/v2`: the paths and definitions of all versions of all groups."""
    paths: Object = {}
    definitions: Object = {}
    for group, versions in kinds.versions().items():
        for version in versions:
            document = openapi.document(kinds, group, version) or {}
            for path, operations in section(document, "paths").items():
                paths[path] = {verb: _operation(each) for verb, each in operations.items()}
            for name, schema in section(section(document, "components"), "schemas").items():
                definitions[name] = _schema(schema)
    info = {"title": "Kubernetes", "version": VERSION["gitVersion"]}
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions}


def _operation(operation: Object) -> Object:
    parameters = [
        {"name": one["name"], "in": one["in"], **one["schema"]} for one in items(operation, "parameters")
    ]
    return {**operation, "parameters": parameters} if parameters else operation


def _schema(schema: Object) -> Object:
    """A schema without what v2 has no word for."""
    if "$ref" in schema:
        return {"$ref": _V2 + schema["$ref"].removeprefix(_V3)}
    kept = {key: value for key, value in schema.items() if key in _KEPT or key.startswith("x-")}
    if any(schema.get(one) for one in _TYPELESS):
        return {key: value for key, value in kept.items() if key not in ("type", "required")}
    if "oneOf" in schema and "type" not in schema:  # a quantity, or a number and its like
        kept["type"] = "string"
    for name, part in section(schema, "properties").items():
        kept.setdefault("properties", {})[name] = _schema(part)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            kept[key] = _schema(schema[key])
    return kept


def encode_v2(document: Object) -> bytes:
    """The document as the protobuf message `openapi.v2.Document`."""
    info = text(1, document["info"]["title"]) + text(2, document["info"]["version"])
    paths = b"".join(text(2, _named(path, _path(each))) for path, each in document["paths"].items())
    return (
        text(1, document["swagger"])
        + text(2, info)
        + text(8, paths)
        + text(9, _named_schemas(document["definitions"]))
    )


def _path(operations: Mapping[str, Object]) -> bytes:
    numbers = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}
    return b"".join(text(numbers[verb], _encoded_operation(each)) for verb, each in operations.items())


def _encoded_operation(operation: Object) -> bytes:
    encoded = b""
    for one in items(operation, "parameters"):
        query = text(2, one["in"]) + text(4, one["name"]) + text(6, one["type"])
        encoded += text(8, text(1, text(2, text(3, query))))
    for code, answer in operation["responses"].items():
        encoded += text(9, text(1, _named(code, text(1, text(1, answer["description"])))))
    return encoded + b"".join(_extensions(operation, 13))


def _encoded_schema(schema: Object) -> bytes:
    encoded = b"".join(
        text(number, schema[key])
        for key, number in (("$ref", 1), ("format", 2), ("description", 4))
        if key in schema
    )
    encoded += b"".join(text(19, name) for name in schema.get("required", ()))
    if "additionalProperties" in schema:
        encoded += text(21, text(1, _encoded_schema(schema["additionalProperties"])))
    if "type" in schema:
        encoded += text(22, text(1, schema["type"]))
    if "items" in schema:
        encoded += text(23, text(1, _encoded_schema(schema["items"])))
    if "properties" in schema:
        encoded += text(25, _named_schemas(schema["properties"]))
    return encoded + b"".join(_extensions(schema, 31))


def _named_schemas(schemas: Mapping[str, Object]) -> bytes:
    return b"".join(text(1, _named(name, _encoded_schema(each))) for name, each in schemas.items())


def _extensions(holder: Object, number: int) -> Iterator[bytes]:
    """Everything `x-…`, as the YAML that JSON is."""
    for name, value in holder.items():
        if name.startswith("x-"):
            yield text(number, _named(name, text(2, encode(value))))


def _named(name: str, value: bytes) -> bytes:
    return text(1, name) + text(2, value)
