"""Kubernetes' protobuf bodies, read into JSON: Go clients, kubectl's typed commands among them, send them.

Only requests are read; every answer is JSON, which such clients accept too. Unknown fields are skipped.
Source: Kubernetes "API concepts", Protobuf encoding; the protobuf wire format.
"""

import base64
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from isthmus.lab.apiserver.errors import bad_request
from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.schema import message_of, schema
from isthmus.lib.protobuf import read_fields

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_DEEPEST = 64
_Raw: TypeAlias = int | bytes


def decode_body(content: bytes) -> Object:
    """The object in a protobuf body, its type included; 400 where it is malformed or of an unknown kind."""
    if not content.startswith(_MAGIC):
        raise bad_request(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    try:
        envelope = dict(read_fields(content[len(_MAGIC) :]))
        type_meta = {number: _text(value) for number, value in read_fields(_bytes(envelope.get(1, b"")))}
        version, kind = type_meta.get(1, ""), type_meta.get(2, "")
        if kind not in schema():
            raise bad_request(f'no kind "{kind}" is registered for version "{version}"')
        message = message_of(version.rpartition("/")[0], kind)
        return {"kind": kind, "apiVersion": version, **_message(message, _bytes(envelope.get(2, b"")), 0)}
    except (IndexError, UnicodeDecodeError, TypeError, ValueError, OverflowError):
        raise bad_request("the protobuf body is malformed") from None


def _message(name: str, content: bytes, depth: int) -> Object:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    known, result = schema()[name], Object()
    for number, raw in read_fields(content):
        field = known.get(number)
        if field is None:
            continue
        if field.shape == "{}":
            entry = dict(read_fields(_bytes(raw)))
            key = _text(entry.get(1, b""))
            result.setdefault(field.name, {})[key] = _value(field.type, entry.get(2, b""), depth)
            continue
        value = _value(field.type, raw, depth)
        if field.shape:
            result.setdefault(field.name, []).append(value)
        elif field.name == ">":
            result.update(value)
        elif value or field.keeps_zero:
            result[field.name] = value
    return result


def _value(type_: str, raw: _Raw, depth: int) -> Any:
    match type_:
        case "s":
            return _text(raw)
        case "i":
            return _signed(raw)
        case "b":
            return bool(raw)
        case "y":
            return base64.b64encode(_bytes(raw)).decode()
        case "t" | "u":
            return _time(_bytes(raw), micro=type_ == "u")
        case "q":
            return _text(dict(read_fields(_bytes(raw))).get(1, b""))
        case "o":
            parts = dict(read_fields(_bytes(raw)))
            return _text(parts.get(3, b"")) if parts.get(1) else _signed(parts.get(2, 0))
        case "x":
            return [_text(one) for _, one in read_fields(_bytes(raw))]
        case "f":
            return msgspec.json.decode(_bytes(dict(read_fields(_bytes(raw))).get(1, b"null")))
        case _:
            return _message(type_, _bytes(raw), depth + 1)


def _time(content: bytes, *, micro: bool) -> str | None:
    parts = dict(read_fields(content))
    if not parts:
        return None
    moment = datetime.fromtimestamp(_signed(parts.get(1, 0)), UTC)
    if not micro:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{_signed(parts.get(2, 0)) // 1000:06d}Z"


def _signed(raw: _Raw) -> int:
    if not isinstance(raw, int):
        raise TypeError("no integer")
    return raw - (1 << 64) if raw >= 1 << 63 else raw


def _bytes(raw: _Raw) -> bytes:
    if not isinstance(raw, bytes):
        raise TypeError("no bytes")
    return raw


def _text(raw: _Raw) -> str:
    return _bytes(raw).decode()
