"""The shape of the kinds' fields, and bodies brought into it: unknown fields dropped, types checked.

It knows shape only; what values mean is for `rules`. Source: Kubernetes "API concepts", field validation.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from isthmus.lab.apiserver.errors import RefusedError, bad_request
from isthmus.lab.apiserver.messages import MESSAGES
from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.quantities import canonical

_BASE64 = re.compile(r"[A-Za-z0-9+/=]")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")
_GO_NAMES = {"s": "string", "b": "bool", "y": "[]uint8", "t": "string", "u": "string"}
_LARGE = """
activeDeadlineSeconds deletionGracePeriodSeconds expirationSeconds fsGroup generation gracePeriodSeconds
observedGeneration remainingItemCount runAsGroup runAsUser supplementalGroups terminationGracePeriodSeconds
tolerationSeconds
"""
_INT64 = frozenset(_LARGE.split())
"""Numbers that Kubernetes keeps in 64 bits; the others have 32."""
_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message; `shape` is empty, `[]` or `{}`; `keeps_zero`: its zero value is written out."""

    name: str
    type: str
    shape: str
    keeps_zero: bool


@cache
def schema() -> Mapping[str, Mapping[int, Field]]:
    """The fields of each message by protobuf number; the name `>` is that of an inlined message."""
    parsed: dict[str, dict[int, Field]] = {}
    fields: dict[int, Field] = {}
    for line in MESSAGES.strip().splitlines():
        words = line.split()
        if not line.startswith(" "):
            fields = parsed[words.pop(0)] = {}
        for word in words:
            name, number, type_ = word.split(":")
            bare = type_.removesuffix("*")
            shape = bare[-2:] if bare.endswith(("[]", "{}")) else ""
            fields[int(number)] = Field(name, bare.removesuffix(shape), shape, type_ != bare)
    return parsed


@cache
def fields_of(message: str) -> Mapping[str, Field]:
    """The fields of a message by name, those of inlined messages among them."""
    found: dict[str, Field] = {}
    for field in schema()[message].values():
        if field.name == ">":
            found.update(fields_of(field.type))
        else:
            found[field.name] = field
    return found


def message_of(group: str, kind: str) -> str:
    """The message of a kind, which may have the same name in two groups."""
    own = f"{(group or 'core').partition('.')[0]}.{kind}"
    return own if own in schema() else kind


def normalised(kind: str, object_: Object, message: str = "") -> tuple[Object, list[str]]:
    """The object as a typed server would write it, and the paths of the fields that it does not know.

    400 where a value has the wrong type. A kind without a schema stays as it is; `message` is the schema of
    one that has not its own.
    """
    name = message or kind
    if name not in schema():
        return object_, []
    reader = _Reader([])
    version = str(object_.get("apiVersion", "")).rpartition("/")[2]
    try:
        result = reader.message(name, object_, "")
    except _MismatchError as mismatch:
        text = f'{kind} in version "{version}" cannot be handled as a {kind}: {mismatch}'
        raise bad_request(text) from None
    types = {key: object_[key] for key in ("kind", "apiVersion") if key in object_}
    return {**types, **result}, reader.unknown


def strictly(kind: str, version: str, unknown: list[str]) -> RefusedError:
    """The refusal of an object with unknown fields, under strict field validation."""
    named = ", ".join(f'unknown field "{path}"' for path in unknown)
    return bad_request(
        f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: {named}'
    )


class _MismatchError(Exception):
    """A value is none of its field's."""


class _WrongTypeError(Exception):
    """A value has another JSON type than `wanted`; which field it is, is not known here."""

    def __init__(self, value: Any, wanted: str) -> None:
        super().__init__(wanted)
        self.value = value
        self.wanted = wanted


@dataclass(frozen=True, slots=True)
class _Reader:
    """One pass over one object."""

    unknown: list[str]

    def message(self, name: str, value: Object, path: str) -> Object:
        known, result = fields_of(name), Object()
        for key, part in value.items():
            at = f"{path}.{key}" if path else key
            field = known.get(key)
            if field is None:
                if path or key not in ("kind", "apiVersion"):
                    self.unknown.append(at)
                continue
            read = None if part is None else self._field(name, field, part, at)
            if read is None:
                if field.keeps_zero and part is None and field.type in ("t", "u"):
                    result[key] = None
            elif read or field.keeps_zero or (read == {} and not field.shape):
                result[key] = read
        return result

    def _field(self, owner: str, field: Field, value: Any, path: str) -> Any:
        try:
            match field.shape:
                case "[]":
                    if not isinstance(value, list):
                        raise _WrongTypeError(value, f"[]{_go_name(field)}")
                    parts = enumerate(cast("list[Any]", value))
                    return [self._value(field, part, f"{path}[{index}]") for index, part in parts]
                case "{}":
                    if not isinstance(value, dict):
                        raise _WrongTypeError(value, f"map[string]{_go_name(field)}")
                    entries = cast("Object", value).items()
                    return {key: self._value(field, part, f"{path}.{key}") for key, part in entries}
                case _:
                    return self._value(field, value, path)
        except _WrongTypeError as wrong:
            place = f"{owner.rpartition('.')[2]}.{_INDEX.sub('', path)}"
            text = f"json: cannot unmarshal {_json_name(wrong.value)} into Go struct field {place}"
            raise _MismatchError(f"{text} of type {wrong.wanted}") from None

    def _value(self, field: Field, value: Any, path: str) -> Any:
        match field.type:
            case "s" | "t" | "u" | "y":
                return _text(field, value)
            case "i":
                fits = isinstance(value, int) and not isinstance(value, bool)
            case "b":
                fits = isinstance(value, bool)
            case "o":
                fits = isinstance(value, int | str) and not isinstance(value, bool)
            case "q":
                fits = isinstance(value, int | float | str) and not isinstance(value, bool)
                try:
                    value = canonical(str(value))
                except ValueError:
                    fits = False
            case "x":
                fits = isinstance(value, list)
            case "f":
                return value
            case _:
                part: Any = {} if value is None else value
                if not isinstance(part, dict):
                    raise _WrongTypeError(part, _go_name(field))
                return self.message(field.type, cast("Object", part), path)
        if not fits and field.type == "q":
            pattern = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
            raise _MismatchError(f"quantities must match the regular expression '{pattern}'")
        if not fits:
            raise _WrongTypeError(value, _go_name(field))
        return value


def _text(field: Field, value: Any) -> Any:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _WrongTypeError(value, _go_name(field))
    if field.type in ("t", "u") and not _TIME.match(value):
        raise _MismatchError(f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}"')
    if field.type == "y":
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            at = next((i for i, one in enumerate(value) if not _BASE64.match(one)), len(value) // 4 * 4)
            raise _MismatchError(f"illegal base64 data at input byte {at}") from None
    return value


def _go_name(field: Field) -> str:
    """The type of a field's value in Kubernetes' own code, which it names in its messages."""
    if field.type == "i":
        return "int64" if field.name in _INT64 else "int32"
    return _GO_NAMES.get(field.type) or f"v1.{field.type.rpartition('.')[2]}"


def _json_name(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"
