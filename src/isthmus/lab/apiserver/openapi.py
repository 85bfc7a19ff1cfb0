"""OpenAPI v3: an index with a hash for each version's document, and the documents with all schemas. Pure.

Schemas are made from `messages` and from the definitions of custom kinds; they say types and how lists merge,
not which fields are required, nor what they are for. Source: Kubernetes "The Kubernetes API", OpenAPI V3.
"""

import hashlib
from collections.abc import Iterator
from functools import cache

from isthmus.lab.apiserver.discovery import VERSION
from isthmus.lab.apiserver.objects import Object, encode, section
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.schema import Field, fields_of, message_of, schema
from isthmus.lab.apiserver.served import Kinds
from isthmus.lab.apiserver.shapes import is_atomic, is_set, list_keys

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_OF_META = (
    "Condition",
    "DeleteOptions",
    "LabelSelector",
    "LabelSelectorRequirement",
    "ManagedFieldsEntry",
    "ObjectMeta",
    "OwnerReference",
    "Preconditions",
)
_PLAIN = {
    "s": {"type": "string"},
    "i": {"type": "integer", "format": "int64"},
    "b": {"type": "boolean"},
    "y": {"type": "string", "format": "byte"},
    "t": {"type": "string", "format": "date-time"},
    "u": {"type": "string", "format": "date-time"},
    "q": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "o": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    "x": {"type": "array", "items": {"type": "string"}},
    "f": {"x-kubernetes-preserve-unknown-fields": True},
}


def index(kinds: Kinds) -> Object:
    """`/openapi/v3`: where each version's document is; the hash changes with the document."""
    paths: Object = {}
    for group, versions in kinds.versions().items():
        for version in versions:
            place = f"apis/{group}/{version}" if group else f"api/{version}"
            digest = hashlib.sha512(encode(document(kinds, group, version))).hexdigest().upper()
            paths[place] = {"serverRelativeURL": f"/openapi/v3/{place}?hash={digest}"}
    return {"paths": paths}


def document(kinds: Kinds, group: str, version: str) -> Object | None:
    """`/openapi/v3/api/v1` and its like, None for a version that is not served."""
    served = [one for one in kinds if (one.group, one.version) == (group, version)]
    if not served:
        return None
    prefix = f"io.k8s.api.{(group or 'core').partition('.')[0]}.{version}"
    paths: Object = {}
    schemas: Object = {}
    for one in served:
        paths.update(_paths(one))
        message = message_of(one.group, one.kind) if one.definition is None else "ObjectMeta"
        schemas |= {_name(prefix, name): _message(prefix, name) for name in _reached(message)}
    for one in served:
        if one.definition is None:
            name = _name(prefix, one.kind)
            whole = schemas[name]
        else:
            name, whole = _custom_name(one), _custom(one.definition.schema)
        schemas[name] = {**whole, "x-kubernetes-group-version-kind": [_kind(one)]}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _custom_name(resource: Resource) -> str:
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


def _custom(schema_: Object) -> Object:
    """A definition's schema, with what every object has."""
    meta = _reference(_META, "ObjectMeta")
    known = {"apiVersion": _PLAIN["s"], "kind": _PLAIN["s"], **section(schema_, "properties")}
    return {**schema_, "properties": {**known, "metadata": meta}}


def _kind(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _paths(resource: Resource) -> Iterator[tuple[str, Object]]:
    """A kind's collection and its single objects, with what clients look for: PATCH's parameters."""
    root = f"/apis/{resource.group_version}" if resource.group else f"/api/{resource.version}"
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    answers: Object = {"responses": {"200": {"description": "OK"}}}
    about: Object = {"x-kubernetes-group-version-kind": _kind(resource), **answers}
    parameters = [_parameter(one) for one in ("dryRun", "fieldManager", "fieldValidation")]
    written: Object = {**about, "parameters": parameters}
    yield f"{root}{scope}/{resource.plural}", {"post": written}
    if not resource.virtual:
        patched: Object = {**written, "parameters": [*parameters, _parameter("force")]}
        path = f"{root}{scope}/{resource.plural}/{{name}}"
        yield path, {"get": about, "put": written, "patch": patched, "delete": about}


def _parameter(name: str) -> Object:
    return {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}


@cache
def _reached(message: str) -> tuple[str, ...]:
    """The message and all that it is made of."""
    found: dict[str, None] = {}
    left = [message] if message in schema() else []
    while left:
        name = left.pop()
        if name not in found:
            found[name] = None
            left += [field.type for field in fields_of(name).values() if field.type in schema()]
    return tuple(found)


def _name(prefix: str, message: str) -> str:
    return f"{_META if message in _OF_META else prefix}.{message.rpartition('.')[2]}"


def _reference(prefix: str, message: str) -> Object:
    return {"$ref": f"#/components/schemas/{_name(prefix, message)}"}


@cache
def _message(prefix: str, message: str) -> Object:
    """The schema of one message."""
    properties = {name: _field(prefix, message, field) for name, field in fields_of(message).items()}
    if "metadata" in properties:
        properties = {"apiVersion": _PLAIN["s"], "kind": _PLAIN["s"], **properties}
    return {"type": "object", "properties": properties}


def _field(prefix: str, message: str, field: Field) -> Object:
    one = _PLAIN.get(field.type) or _reference(prefix, field.type)
    match field.shape:
        case "[]":
            keys = list_keys(message, field.name)
            type_ = "map" if keys else "set" if is_set(message, field.name) else "atomic"
            listed: Object = {"type": "array", "items": one, "x-kubernetes-list-type": type_}
            return {**listed, "x-kubernetes-list-map-keys": [*keys]} if keys else listed
        case "{}":
            mapped: Object = {"type": "object", "additionalProperties": one}
            atomic = is_atomic(message, field.name)
            return {**mapped, "x-kubernetes-map-type": "atomic"} if atomic else mapped
        case _:
            return one
