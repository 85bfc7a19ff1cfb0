import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.ca.messages import (
    CLUSTER_FIELD,
    CertificateRequest,
    MalformedRequest,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from isthmus.lib.protobuf import texts_of


def test_messages_are_on_the_wire_as_istio_has_them() -> None:
    assert encode_request(CertificateRequest("abc", 5)) == b"\x0a\x03abc\x18\x05"
    assert encode_response(["x", "yz"]) == b"\x0a\x01x\x0a\x02yz"
    assert texts_of(encode_response(["x"], "west"), CLUSTER_FIELD) == ["west"]


def test_unknown_fields_and_metadata_that_is_no_text_are_left_out() -> None:
    subject_id = b"\x12\x03old"
    number = b'"\r\n\x0b\n\x01n\x12\x06\x11' + b"\0" * 5
    assert decode_request(b"\x0a\x03abc" + subject_id) == CertificateRequest("abc")
    with pytest.raises(MalformedRequest):
        decode_request(b"\x0a\x03abc" + number)


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    st.integers(-(2**63), 2**63 - 1),
    st.dictionaries(st.text("abc"), st.text("abc")),
)
def test_what_is_written_is_read(csr: str, seconds: int, metadata: dict[str, str]) -> None:
    request = CertificateRequest(csr, seconds, metadata)
    assert decode_request(encode_request(request)) == request
    assert decode_response(encode_response([csr, "x"])) == (csr, "x")


@given(st.binary())
def test_garbage_is_malformed_or_a_request(data: bytes) -> None:
    try:
        decode_request(data)
    except MalformedRequest as error:
        found = str(error)
    else:
        found = "the request is no IstioCertificateRequest"
    assert found == "the request is no IstioCertificateRequest"
