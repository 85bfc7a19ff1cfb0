"""Structural schemas of custom resources: pruning, defaults, checks, and the shape for merging. Pure.

Rules in CEL (`x-kubernetes-validations`) and formats are kept but not evaluated. Source: Kubernetes "Extend
the Kubernetes API with CustomResourceDefinitions", and the messages of its validation.
"""

import re
from collections.abc import Iterator
from typing import Any, cast

from isthmus.lab.apiserver.errors import Cause, duplicate, invalid_value, required
from isthmus.lab.apiserver.objects import Object, copy, encode, section, strings
from isthmus.lab.apiserver.shapes import ANY, WHOLE, Distinct, Granular, Keyed, Shape, shape_of

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_LIST_TYPE, _LIST_KEYS, _MAP_TYPE = (
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)
_OF_EVERY_OBJECT = ("apiVersion", "kind", "metadata")


def pruned(schema: Object, value: Any, path: str = "", *, root: bool = True) -> tuple[Any, list[str]]:
    """A copy of the value with what the schema names, and the paths of what it does not name."""
    unknown: list[str] = []
    return _prune(schema, value, path, unknown, root=root), unknown


def _prune(schema: Object, value: Any, path: str, unknown: list[str], *, root: bool = False) -> Any:
    if isinstance(value, list):
        item = section(schema, "items")
        return [
            _prune(item, part, f"{path}[{index}]", unknown) if item else part
            for index, part in enumerate(cast("list[Any]", value))
        ]
    if not isinstance(value, dict):
        return value
    known, result = section(schema, "properties"), Object()
    entries: Any = schema.get("additionalProperties")
    keeps = bool(schema.get(_PRESERVE)) or entries is True
    for name, part in cast("Object", value).items():
        at = f"{path}.{name}" if path else name
        if name in _OF_EVERY_OBJECT and (root or schema.get(_EMBEDDED)):
            result[name] = part
        elif name in known:
            result[name] = _prune(known[name], part, at, unknown)
        elif isinstance(entries, dict):
            result[name] = _prune(cast("Object", entries), part, at, unknown)
        elif keeps:
            result[name] = copy({"": part})[""]
        else:
            unknown.append(at)
    return result


def set_defaults(schema: Object, value: Any) -> None:
    """Give missing fields their defaults, in place; null counts as missing where it is not allowed."""
    if isinstance(value, list):
        for part in cast("list[Any]", value):
            set_defaults(section(schema, "items"), part)
    if not isinstance(value, dict):
        return
    object_, known = cast("Object", value), section(schema, "properties")
    for name, inner in known.items():
        if object_.get(name) is None and not (name in object_ and inner.get("nullable")):
            if "default" in inner:
                object_[name] = copy({"": inner["default"]})[""]
            elif name in object_:
                del object_[name]
        if name in object_:
            set_defaults(inner, object_[name])
    entries = section(schema, "additionalProperties")
    if entries:
        for name in set(object_) - set(known):
            set_defaults(entries, object_[name])


def validate(schema: Object, value: Any, path: str = "") -> Iterator[Cause]:
    """The faults of a value."""
    if value is None and schema.get("nullable"):
        return
    fault = _type_fault(schema, value)
    if fault:
        text = f'Invalid value: "{_type(value)}": {path or "<nil>"} in body must be of type {fault}: '
        yield Cause(path or "<nil>", "FieldValueTypeInvalid", f'{text}"{_type(value)}"')
        return
    yield from _validate_plain(schema, value, path)
    match value:
        case dict():
            yield from _validate_map(schema, cast("Object", value), path)
        case list():
            yield from _validate_list(schema, cast("list[Any]", value), path)
        case _:
            pass
    yield from _validate_combined(schema, value, path)


def validate_object(schema: Object, object_: Object) -> Iterator[Cause]:
    """The faults of a whole object but for its type and metadata, which have rules of their own."""
    known = {
        name: part for name, part in section(schema, "properties").items() if name not in _OF_EVERY_OBJECT
    }
    needed = [name for name in strings(schema, "required") if name not in _OF_EVERY_OBJECT]
    own = {name: part for name, part in object_.items() if name not in _OF_EVERY_OBJECT}
    yield from validate({**schema, "properties": known, "required": needed}, own)


def _type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _type_fault(schema: Object, value: Any) -> str:
    """The type that the value should have had, empty where it has it."""
    is_ = _type(value)
    if schema.get(_INT_OR_STRING):
        return "" if is_ in ("integer", "string") else "integer,string"
    wanted = schema.get("type", "")
    whole = wanted == "integer" and isinstance(value, float) and value.is_integer()
    if not wanted or wanted == is_ or whole or (wanted == "number" and is_ == "integer"):
        return ""
    return str(wanted)


def _validate_plain(schema: Object, value: Any, path: str) -> Iterator[Cause]:
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(encode(one).decode() for one in schema["enum"])
        shown = encode(value).decode()
        text = f"Unsupported value: {shown}: supported values: {allowed}"
        yield Cause(path, "FieldValueNotSupported", text)
    if isinstance(value, str):
        if len(value) > schema.get("maxLength", len(value)):
            text = f"Too long: may not be more than {schema['maxLength']} bytes"
            yield Cause(path, "FieldValueTooLong", text)
        if len(value) < schema.get("minLength", 0):
            least = schema["minLength"]
            yield invalid_value(path, value, f"{path} in body should be at least {least} chars long")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield invalid_value(path, value, f"{path} in body should match '{schema['pattern']}'")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _validate_number(schema, value, path)


def _validate_number(schema: Object, value: float, path: str) -> Iterator[Cause]:
    least, most, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    strictly_less, strictly_more = schema.get("exclusiveMaximum"), schema.get("exclusiveMinimum")
    if least is not None and (value < least or (strictly_more and value == least)):
        relation = "greater than" if strictly_more else "greater than or equal to"
        yield invalid_value(path, value, f"{path} in body should be {relation} {least}")
    if most is not None and (value > most or (strictly_less and value == most)):
        relation = "less than" if strictly_less else "less than or equal to"
        yield invalid_value(path, value, f"{path} in body should be {relation} {most}")
    if step and value % step:
        yield invalid_value(path, value, f"{path} in body should be a multiple of {step}")


def _validate_map(schema: Object, value: Object, path: str) -> Iterator[Cause]:
    for name in strings(schema, "required"):
        if name not in value:
            yield required(_below(path, name))
    count = len(value)
    if count > schema.get("maxProperties", count):
        most = schema["maxProperties"]
        yield Cause(path, "FieldValueTooMany", f"Too many: {count}: must have at most {most} items")
    if count < schema.get("minProperties", 0):
        least = schema["minProperties"]
        yield invalid_value(path, count, f"{path} in body should have at least {least} properties")
    known, entries = section(schema, "properties"), section(schema, "additionalProperties")
    for name, part in value.items():
        inner = known.get(name, entries)
        if inner:
            yield from validate(inner, part, _below(path, name))


def _validate_list(schema: Object, value: list[Any], path: str) -> Iterator[Cause]:
    count = len(value)
    if count > schema.get("maxItems", count):
        text = f"Too many: {count}: must have at most {schema['maxItems']} items"
        yield Cause(path, "FieldValueTooMany", text)
    if count < schema.get("minItems", 0):
        least = schema["minItems"]
        yield invalid_value(path, count, f"{path} in body should have at least {least} items")
    inner, keys = section(schema, "items"), strings(schema, _LIST_KEYS)
    distinct = schema.get(_LIST_TYPE) in ("set", "map")
    seen: list[Any] = []
    for index, part in enumerate(value):
        at = f"{path}[{index}]"
        if inner:
            yield from validate(inner, part, at)
        told_by: Any = part
        if keys and isinstance(part, dict):
            told_by = {key: cast("Object", part).get(key) for key in keys}
        if distinct and told_by in seen:
            yield duplicate(at, told_by if isinstance(told_by, str) else encode(told_by).decode())
        seen.append(told_by)


def _validate_combined(schema: Object, value: Any, path: str) -> Iterator[Cause]:
    def holds(one: Object) -> bool:
        return next(validate(one, value, path), None) is None

    def broken(text: str) -> Cause:
        shown = f'"{_type(value)}"' if isinstance(value, dict | list) else encode(value).decode()
        return Cause(path, "FieldValueInvalid", f"Invalid value: {shown}: {path or '<nil>'} in body {text}")

    for one in cast("list[Object]", schema.get("allOf") or []):
        yield from validate(one, value, path)
    if "anyOf" in schema and not any(map(holds, schema["anyOf"])):
        yield broken("must validate at least one schema (anyOf)")
    if "oneOf" in schema:
        count = sum(map(holds, schema["oneOf"]))
        if count != 1:
            found = "Found none valid" if count == 0 else f"Found {count} valid alternatives"
            yield broken(f"must validate one and only one schema (oneOf). {found}")
    if "not" in schema and holds(schema["not"]):
        yield broken("must not validate the schema (not)")


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def shape_of_schema(schema: Object, *, root: bool = True) -> Shape:
    """How values of the schema are owned and merged."""
    if schema.get(_EMBEDDED) or root:
        return Granular(lambda name: _member(schema, name, of_object=True))
    match schema.get("type"):
        case "object" if schema.get(_MAP_TYPE) != "atomic":
            declared = "properties" in schema
            return Granular(lambda name: _member(schema, name), declared=declared)
        case "array" if schema.get(_LIST_TYPE) == "map":
            item = shape_of_schema(section(schema, "items"), root=False)
            known = section(section(schema, "items"), "properties")
            keys = tuple(strings(schema, _LIST_KEYS))
            defaults = {key: known[key]["default"] for key in keys if "default" in known.get(key, {})}
            return Keyed(keys, item, defaults)
        case "array" if schema.get(_LIST_TYPE) == "set":
            return Distinct()
        case None if schema.get(_PRESERVE):
            return ANY
        case _:
            return WHOLE


def _member(schema: Object, name: str, *, of_object: bool = False) -> Shape | None:
    if of_object and name in _OF_EVERY_OBJECT:
        return shape_of("ObjectMeta") if name == "metadata" else WHOLE
    known, entries = section(schema, "properties"), schema.get("additionalProperties")
    if name in known:
        return shape_of_schema(known[name], root=False)
    if isinstance(entries, dict):
        return shape_of_schema(cast("Object", entries), root=False)
    return ANY if schema.get(_PRESERVE) or entries is True else None
