from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab.apiserver.errors import RefusedError
from isthmus.lab.apiserver.wire import decode_body


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _body(version: str, kind: str, *fields: bytes) -> bytes:
    type_meta = _field(1, version) + _field(2, kind)
    return b"k8s\x00" + _field(1, type_meta) + _field(2, b"".join(fields)) + _field(3, "")


def test_maps_bytes_and_times_are_read() -> None:
    time = _field(1, 1_700_000_000)
    meta = _field(1, "one") + _field(2, "") + _field(8, time) + _field(11, _field(1, "a") + _field(2, "b"))
    secret = _body("v1", "Secret", _field(1, meta), _field(2, _field(1, "k") + _field(2, b"\x00\xff")))
    assert decode_body(secret) == {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "one", "creationTimestamp": "2023-11-14T22:13:20Z", "labels": {"a": "b"}},
        "data": {"k": "AP8="},
    }


def test_a_zero_that_means_something_is_kept_and_others_are_not() -> None:
    spec = _field(1, 0) + _field(5, 0)
    decoded = decode_body(_body("apps/v1", "Deployment", _field(2, spec)))
    assert decoded["spec"] == {"replicas": 0}


def test_ports_may_be_numbers_or_names_and_inlined_messages_are_level() -> None:
    action = _field(2, _field(1, 1) + _field(3, "http"))
    port = _field(1, _field(2, action)) + _field(3, 5)
    container = _field(1, "main") + _field(11, port)
    pod = decode_body(_body("v1", "Pod", _field(2, _field(2, container))))
    (read,) = pod["spec"]["containers"]
    assert read["readinessProbe"] == {"httpGet": {"port": "http"}, "timeoutSeconds": 5}


def test_negative_numbers_and_unknown_fields_are_read_past() -> None:
    spec = _field(4, -1) + _field(3000, "what is to come") + _varint(3001 << 3 | 5) + b"1234"
    pod = decode_body(_body("v1", "Pod", _field(2, spec)))
    assert pod["spec"] == {"terminationGracePeriodSeconds": -1}


def test_kinds_that_are_not_known_are_named() -> None:
    with pytest.raises(RefusedError, match='no kind "Widget" is registered for version "v9"'):
        decode_body(_body("v9", "Widget"))


@given(st.binary(max_size=60))
def test_garbage_is_refused_and_nothing_else_happens(garbage: bytes) -> None:
    for body in (garbage, b"k8s\x00" + garbage, _body("v1", "Pod", garbage)):
        with suppress(RefusedError):
            decode_body(body)
