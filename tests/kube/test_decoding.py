import json
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.kube.decoding import (
    BadLine,
    Batch,
    Line,
    Ref,
    decode_line,
    decode_object,
    decode_page,
    metadata_of,
    status_error,
)
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import (
    CONFIG_MAP,
    ENDPOINT_SLICE,
    ENDPOINTS,
    NODE,
    POD,
    SECRET,
    SERVICE,
    Kind,
    untyped,
)

T = TypeVar("T")
META = {"name": "a", "namespace": "demo", "uid": "u1", "resourceVersion": "7"}
WIDGET = untyped("example.com", "v1", "widgets", "Widget")


def decode(kind: Kind[Any], **fields: Any) -> Any:
    return decode_object(kind, json.dumps({"metadata": META, **fields}).encode())


def page(*items: Any, **fields: Any) -> bytes:
    return json.dumps({"metadata": {"resourceVersion": "9"}, "items": items, **fields}).encode()


def only_batch(kind: Kind[T], body: bytes) -> Batch[T]:
    (batch,) = decode_page(kind, body).batches()
    return batch


def test_a_service_with_all_its_fields() -> None:
    spec = {
        "type": "ClusterIP",
        "clusterIP": "10.0.0.1",
        "clusterIPs": ["10.0.0.1", "fd00::1"],
        "ports": [
            {"name": "http", "port": 80, "targetPort": "web", "appProtocol": "http"},
            {"port": 443, "targetPort": 8443, "protocol": "TCP", "nodePort": 30000},
        ],
        "selector": {"app": "a"},
        "publishNotReadyAddresses": True,
        "internalTrafficPolicy": "Cluster",
    }
    service = decode(SERVICE, spec=spec, status={"loadBalancer": {}})
    assert service.spec.cluster_ips == ("10.0.0.1", "fd00::1")
    assert [(port.port, port.target_port) for port in service.spec.ports] == [(80, "web"), (443, 8443)]
    assert service.spec.publish_not_ready_addresses
    assert service.metadata.uid == "u1"


def test_nulls_are_as_good_as_absent() -> None:
    part = decode(ENDPOINT_SLICE, addressType="IPv4", endpoints=None, ports=None)
    assert (part.endpoints, part.ports) == ((), ())
    endpoints = [{"addresses": ["10.1.0.1"], "conditions": {"ready": None}, "nodeName": None, "zone": None}]
    (endpoint,) = decode(ENDPOINT_SLICE, endpoints=endpoints, ports=[{"port": 1, "name": None}]).endpoints
    assert (endpoint.conditions.ready, endpoint.node_name) == (None, "")
    assert decode(POD, spec={"containers": None}, status={"podIPs": None}).addresses == ()
    assert decode(ENDPOINTS, subsets=None).subsets == ()


def test_a_pod_tells_its_addresses_and_readiness() -> None:
    status: dict[str, Any] = {
        "phase": "Running",
        "podIP": "10.1.0.2",
        "podIPs": [{"ip": "10.1.0.2"}, {"ip": "fd00::2"}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": None}],
        "containerStatuses": [{"name": "app", "ready": True, "state": {"running": {}}}],
    }
    spec = {"nodeName": "n", "serviceAccountName": "sa", "containers": [{"ports": [{"containerPort": 80}]}]}
    pod = decode(POD, spec=spec, status=status)
    assert pod.addresses == ("10.1.0.2", "fd00::2")
    assert pod.ready
    assert decode(POD, status={"podIP": "10.1.0.3"}).addresses == ("10.1.0.3",)


def test_a_secret_is_decoded_and_never_shown() -> None:
    secret = decode(SECRET, data={"west": "aHVudGVyMg=="}, type="Opaque")
    assert secret.data == {"west": b"hunter2"}
    assert "hunter2" not in repr(secret)
    assert "west" in repr(secret)
    with pytest.raises(msgspec.ValidationError) as caught:
        decode(SECRET, data={"west": "hunter2!"})
    assert "hunter2" not in str(caught.value)


def test_kubectls_copy_of_the_object_is_dropped() -> None:
    meta = META | {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "1"}}
    assert decode(NODE, metadata=meta).metadata.annotations == {"kept": "1"}


def test_an_untyped_object_stays_whole() -> None:
    assert decode(WIDGET, spec={"x": None}) == {"metadata": META, "spec": {"x": None}}


def test_a_bad_object_is_named_and_the_others_are_kept() -> None:
    bad = {"metadata": META | {"name": "bad"}, "spec": {"ports": [{"port": "eighty"}]}}
    nameless: dict[str, Any] = {"metadata": {}}
    found = only_batch(SERVICE, page({"metadata": META}, bad, 5, nameless))
    assert [item.metadata.name for item in found.items] == ["a"]
    assert [(each.ref, each.reason) for each in found.rejected] == [
        (Ref("demo", "bad"), "Expected `int`, got `str` - at `$.spec.ports[0].port`"),
        (Ref("", ""), "Expected `object`, got `int`"),
        (Ref("", ""), "Object without a name - at `$.metadata.name`"),
    ]


def test_an_object_that_is_no_utf8_or_too_deep_is_rejected_alone() -> None:
    whole = page({"metadata": META}, {"metadata": META | {"name": "b"}, "data": {"k": "XX"}})
    found = only_batch(CONFIG_MAP, whole.replace(b"XX", b"\xff"))
    assert [len(found.items), len(found.rejected)] == [1, 1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"{}",
        b"[]",
        b"null",
        b'{"metadata":{"resourceVersion":"1"}}',
        b'{"items":[],"metadata":{}}',
        b'{"kind":"Status","metadata":{"resourceVersion":"1"},"items":[]}',
        b'{"items":[{"metadata":{"name":"a"',
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_is_never_an_empty_list(body: bytes) -> None:
    with pytest.raises(Unreachable):
        decode_page(SERVICE, body)


def test_a_list_of_null_items_is_empty() -> None:
    assert list(decode_page(SERVICE, b'{"items":null,"metadata":{"resourceVersion":"1"}}').batches()) == []


def test_a_bookmark_as_real_servers_send_it() -> None:
    sent = {"kind": "Pod", "metadata": {"resourceVersion": "12", "creationTimestamp": None}}
    sent |= {"spec": {"containers": None}, "status": {}}
    line = decode_line(POD, json.dumps({"type": "BOOKMARK", "object": sent}).encode())
    assert isinstance(line, Line)
    assert (line.type, line.object.metadata.resource_version) == ("BOOKMARK", "12")


@pytest.mark.parametrize("kind", [POD, SERVICE, WIDGET], ids=lambda kind: kind.kind)
def test_an_error_event_is_an_api_error(kind: Kind[Any]) -> None:
    event = {
        "type": "ERROR",
        "object": {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired"},
    }
    with pytest.raises(ApiError) as caught:
        decode_line(kind, json.dumps(event).encode())
    assert (caught.value.status, caught.value.reason) == (410, "Expired")


def test_a_line_with_a_bad_object_says_which_and_how_far() -> None:
    line = {"type": "DELETED", "object": {"metadata": META, "spec": {"ports": 5}}}
    bad = decode_line(SERVICE, json.dumps(line).encode())
    assert isinstance(bad, BadLine)
    assert (bad.deleted, bad.rejected.ref, bad.resource_version) == (True, Ref("demo", "a"), "7")


@pytest.mark.parametrize(
    "line", [b"{", b"5", b"{}", b'{"type":"RENAMED","object":{}}', b"\xff", b"[" * 10**5]
)
def test_a_line_that_is_no_event_is_nonsense(line: bytes) -> None:
    with pytest.raises(Unreachable):
        decode_line(SERVICE, line)


def test_a_failure_without_a_status_quotes_little_of_the_page() -> None:
    error = status_error(b"<html>\n<title>502\x1b[31m Bad</title>" + b"x" * 10_000, 502, "BadGateway")
    assert str(error).startswith("502 BadGateway: <html> <title>502 [31m Bad</title>xxx")
    assert len(error.message) <= 100


FIELDS = st.sampled_from(
    ["metadata", "name", "labels", "spec", "ports", "port", "endpoints", "addresses", "data", "status"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70_000) | st.sampled_from(["", "a", "10.0.0.1", "TCP"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=20,
)


@given(
    st.sampled_from([SERVICE, ENDPOINT_SLICE, ENDPOINTS, POD, NODE, SECRET, WIDGET]),
    JSON,
    st.sampled_from(["ADDED", "DELETED", "BOOKMARK"]),
)
def test_any_object_is_decoded_or_rejected(kind: Kind[Any], item: Any, change: str) -> None:
    try:
        line = decode_line(kind, json.dumps({"type": change, "object": item}).encode())
        assert isinstance(line, BadLine) or metadata_of(line.object).name or change == "BOOKMARK"
    except Unreachable:
        assert change == "BOOKMARK"
    found = only_batch(kind, page(item))
    assert len(found.items) + len(found.rejected) == 1


@given(st.binary(max_size=60))
def test_any_bytes_are_an_event_or_an_error(line: bytes) -> None:
    with pytest.raises((Unreachable, ApiError)):
        decode_line(POD, line)
