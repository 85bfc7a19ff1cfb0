"""Hand-made bytes against protobuf's own."""

from contextlib import suppress

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from isthmus.model.resources import CLUSTER, ENDPOINT
from isthmus.xds.errors import ProtocolError
from isthmus.xds.shelf import Form, Fragment, pieces
from isthmus.xds.wire import (
    delta_response,
    names_block,
    names_of,
    read_delta_request,
    read_request,
    whole_response,
)
from tests.xds.dialogue import node
from tests.xds.fakes import resource

NAMES = st.lists(st.text(max_size=200), max_size=5)


@given(NAMES, st.text(max_size=300))
def test_responses_decode_as_what_they_were_made_of(names: list[str], content: str) -> None:
    made = [resource(CLUSTER, name, content) for name in names]
    fragments = [Fragment(one) for one in made]
    whole = discovery_pb2.DiscoveryResponse.FromString(
        whole_response(CLUSTER, "17", pieces(fragments, Form.WHOLE))
    )
    assert (whole.type_url, whole.nonce, whole.version_info) == (CLUSTER, "17", "17")
    assert [(one.type_url, one.value) for one in whole.resources] == [(CLUSTER, one.body) for one in made]

    delta = discovery_pb2.DeltaDiscoveryResponse.FromString(
        delta_response(CLUSTER, "18", pieces(fragments, Form.DELTA), names)
    )
    assert (delta.type_url, delta.nonce, list(delta.removed_resources)) == (CLUSTER, "18", names)
    assert [
        (one.name, one.version, one.resource.type_url, one.resource.value) for one in delta.resources
    ] == [(one.name, one.version, CLUSTER, one.body) for one in made]


@given(NAMES, st.text(max_size=40), st.none() | st.text(max_size=40), st.booleans())
def test_requests_are_read_as_protobuf_reads_them(
    names: list[str], nonce: str, error: str | None, introduces: bool
) -> None:
    message = discovery_pb2.DiscoveryRequest(
        version_info=nonce,
        node=node() if introduces else None,
        resource_names=names,
        type_url=ENDPOINT,
        response_nonce=nonce,
        error_detail=None if error is None else status_pb2.Status(message=error),
    )
    for blocks in ((), (names_block(names),), (names_block(["other"]), names_block(names[:1]))):
        read = read_request(message.SerializeToString(), blocks)
        assert (read.type_url, read.nonce, read.error) == (ENDPOINT, nonce, error)
        assert names_of(read.names) == names
        assert bool(read.node) == introduces


@given(NAMES, NAMES, st.text(max_size=40), st.none() | st.text(max_size=40), st.booleans())
def test_incremental_requests_are_read_as_protobuf_reads_them(
    names: list[str], gone: list[str], nonce: str, error: str | None, introduces: bool
) -> None:
    message = discovery_pb2.DeltaDiscoveryRequest(
        node=node() if introduces else None,
        type_url=ENDPOINT,
        resource_names_subscribe=names,
        resource_names_unsubscribe=gone,
        initial_resource_versions=dict.fromkeys(gone, "1"),
        response_nonce=nonce,
        error_detail=None if error is None else status_pb2.Status(message=error),
    )
    read = read_delta_request(message.SerializeToString())
    assert (read.type_url, read.nonce, read.error) == (ENDPOINT, nonce, error)
    assert (read.subscribe, read.unsubscribe) == (set(names), set(gone))
    assert read.known == dict.fromkeys(gone, "1")
    assert read.node == (node().SerializeToString() if introduces else b"")


def test_a_known_block_of_names_is_recognised_without_being_parsed() -> None:
    names = [f"outbound|80||s{index}.default.svc.cluster.local" for index in range(500)]
    block = names_block(names)
    request = discovery_pb2.DiscoveryRequest(resource_names=names, type_url=ENDPOINT, response_nonce="7")
    assert read_request(request.SerializeToString(), (block,)).names is block
    request.resource_names.append("more")
    read = read_request(request.SerializeToString(), (block,))
    assert names_of(read.names) == [*names, "more"]


def test_fields_in_an_unusual_order_are_left_to_protobuf() -> None:
    first = discovery_pb2.DiscoveryRequest(resource_names=["a"]).SerializeToString()
    later = discovery_pb2.DiscoveryRequest(resource_names=["b"], type_url=ENDPOINT).SerializeToString()
    nonce = discovery_pb2.DiscoveryRequest(response_nonce="9").SerializeToString()
    read = read_request(first + nonce + later)
    assert (names_of(read.names), read.nonce, read.type_url) == (["a", "b"], "9", ENDPOINT)


@given(st.binary(max_size=200))
def test_garbage_is_refused_in_so_many_words_or_read_as_protobuf_reads_it(data: bytes) -> None:
    try:
        expected = discovery_pb2.DiscoveryRequest.FromString(data)
    except DecodeError:
        with pytest.raises(ProtocolError):
            names_of(read_request(data).names)
    else:
        read = read_request(data)
        assert (read.type_url, read.nonce) == (expected.type_url, expected.response_nonce)
        assert names_of(read.names) == list(expected.resource_names)
    try:
        delta = discovery_pb2.DeltaDiscoveryRequest.FromString(data)
    except DecodeError:
        with suppress(ProtocolError):  # What is not looked at is not refused: a node in a later request.
            read_delta_request(data)
    else:
        incremental = read_delta_request(data)
        assert (incremental.type_url, incremental.nonce) == (delta.type_url, delta.response_nonce)
        assert incremental.subscribe == set(delta.resource_names_subscribe)
