"""JSON schemas out of the msgspec types, for CustomResourceDefinitions and for the values of charts.

They are structural (apiextensions/v1): no references, a type at every level. A schema says what types say,
and the rules in CEL that they carry; a field that no type names is let through.
"""

import re
from typing import Any, cast

from msgspec import inspect

from isthmus.config.durations import PATTERN, Duration


def schema_of(found: Any) -> dict[str, Any]:
    """The schema of a type. TypeError for what it cannot say."""
    return _schema(inspect.type_info(found))


def _schema(info: inspect.Type) -> dict[str, Any]:
    match info:
        case inspect.StructType():
            return _object(info)
        case inspect.StrType():
            return {
                "type": "string",
                **_given(minLength=info.min_length, maxLength=info.max_length, pattern=info.pattern),
            }
        case inspect.IntType():
            wide = info.le is None or info.le > 2**31 - 1
            return {
                "type": "integer",
                "format": "int64" if wide else "int32",
                **_given(minimum=info.ge, maximum=info.le),
            }
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.EnumType():
            return {"type": "string", "enum": [member.value for member in info.cls]}
        case inspect.VarTupleType():
            items = _schema(info.item_type)
            return {
                "type": "array",
                "items": items,
                **_given(minItems=info.min_length, maxItems=info.max_length),
            }
        case inspect.DictType():
            return {
                "type": "object",
                "additionalProperties": _schema(info.value_type),
                **_given(minProperties=info.min_length, maxProperties=info.max_length),
            }
        case inspect.UnionType():
            (known,) = (one for one in info.types if not isinstance(one, inspect.NoneType))
            return _schema(known)
        case inspect.CustomType() if info.cls is Duration:
            return {"type": "string", "pattern": PATTERN}
        case inspect.Metadata():
            extra = cast("dict[str, Any]", info.extra_json_schema or {})  # pyright: ignore[reportUnknownMemberType]
            return _schema(info.type) | extra
        case _:
            raise TypeError(f"a schema cannot say {info}")


def _object(info: inspect.StructType) -> dict[str, Any]:
    required = [field.encode_name for field in info.fields if field.required]
    text = (info.cls.__doc__ or "").partition("\n\n")[0]
    lines = re.sub(r"`(\w+)`", lambda name: _camel(name[1]), text).split()
    return {
        "type": "object",
        "description": " ".join(lines),
        **({"required": required} if required else {}),
        "properties": {field.encode_name: _schema(field.type) for field in info.fields},
    }


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.title() for part in others)


def _given(**limits: Any) -> dict[str, Any]:
    return {name: value for name, value in limits.items() if value is not None}
