import pytest
from envoy.config.core.v3.address_pb2 import SocketAddress
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lib.protobuf import integer, read_fields, text, texts_of

TEXTS = st.text(st.characters(codec="utf-8"), max_size=300)


@given(st.integers(0, 2**32 - 1), TEXTS)
def test_what_it_writes_protobuf_reads(port: int, address: str) -> None:
    message = SocketAddress.FromString(text(2, address) + integer(3, port) + text(5, b"dns"))
    assert (message.address, message.port_value, message.resolver_name) == (address, port, "dns")


@given(st.lists(TEXTS), st.integers(0, 2**31 - 1), TEXTS)
def test_what_protobuf_writes_it_reads(names: list[str], code: int, reason: str) -> None:
    message = DiscoveryRequest(resource_names=names, response_nonce=reason)
    message.error_detail.code = code
    data = message.SerializeToString()
    assert texts_of(data, 3) == names
    assert dict(read_fields(data)).get(5, b"") == reason.encode()
    status = dict(read_fields(data))[6]
    assert isinstance(status, bytes)
    assert dict(read_fields(status)).get(1, 0) == code


def test_numbers_of_fixed_size_are_passed_over() -> None:
    data = b"\x09" + bytes(8) + b"\x0d" + bytes(4) + text(2, "after")
    assert texts_of(data, 2) == ["after"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x0a", "number does not end"),
        (b"\x0a\x05abc", "after the message"),
        (b"\x80" * 11, "number does not end"),
        (b"\x09abc", "after the message"),
        (b"\x0b\x0c", "wire type 3"),
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        list(read_fields(data))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        values = [value for _, value in read_fields(data)]
    except ValueError:
        return
    assert sum(len(value) for value in values if isinstance(value, bytes)) <= len(data)
