"""The messages of `istio.v1.auth.IstioCertificateService`, built from their descriptor as this module loads.

Only what is read or written here is described: unknown fields are skipped, as protobuf has it.
Source: Istio API, security/v1alpha1 (CreateCertificate).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.message import DecodeError, Message

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
CLUSTER_FIELD = 15012
"""Of the answer, far from what Istio may use."""
_PACKAGE = "istio.v1.auth"
_REQUEST = "IstioCertificateRequest"
_RESPONSE = "IstioCertificateResponse"


class MalformedRequest(Exception):  # noqa: N818 - a finding about the sender
    """Bytes that are no IstioCertificateRequest."""


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """What a workload asks for: a PEM request, signed for `seconds` (0 or less: as long as is usual).

    `metadata` holds the text fields of the request's metadata.
    """

    csr: str
    seconds: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


class _Request(Protocol):
    csr: str
    validity_duration: int
    metadata: Any


def decode_request(data: bytes) -> CertificateRequest:
    """Read a request. Raises MalformedRequest."""
    message = _new(_REQUEST)
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise MalformedRequest("the request is no IstioCertificateRequest") from None
    request = cast("_Request", message)
    fields = cast("Mapping[str, struct_pb2.Value]", request.metadata.fields)
    metadata = {name: value.string_value for name, value in fields.items() if value.HasField("string_value")}
    return CertificateRequest(request.csr, request.validity_duration, metadata)


def encode_request(request: CertificateRequest) -> bytes:
    """Write a request."""
    message = _new(_REQUEST)
    fields = cast("_Request", message)
    fields.csr, fields.validity_duration = request.csr, request.seconds
    for name, value in request.metadata.items():
        fields.metadata[name] = value
    return message.SerializeToString()


def decode_response(data: bytes) -> tuple[str, ...]:
    """The elements of an answer, PEM: leaf, intermediates, roots. ValueError where it is none."""
    message = _new(_RESPONSE)
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise ValueError("the answer is no IstioCertificateResponse") from None
    return tuple(cast("Any", message).cert_chain)


def encode_response(chain: Sequence[str], cluster: str = "") -> bytes:
    """Write an answer, as `issuing.issue_certificate` gives it.

    `cluster` tells a workload which cluster vouched for it, if its proof says so. The field is ours: agents
    of Istio's skip it.
    """
    message = _new(_RESPONSE)
    cast("Any", message).cert_chain.extend(chain)
    cast("Any", message).cluster = cluster
    return message.SerializeToString()


_FILE = {
    "name": "isthmus/istio_ca.proto",
    "package": _PACKAGE,
    "syntax": "proto3",
    "dependency": ["google/protobuf/struct.proto"],
    "messageType": [
        {
            "name": _REQUEST,
            "field": [
                {"name": "csr", "number": 1, "type": "TYPE_STRING"},
                {"name": "validity_duration", "number": 3, "type": "TYPE_INT64"},
                {
                    "name": "metadata",
                    "number": 4,
                    "type": "TYPE_MESSAGE",
                    "typeName": ".google.protobuf.Struct",
                },
            ],
        },
        {
            "name": _RESPONSE,
            "field": [
                {"name": "cert_chain", "number": 1, "type": "TYPE_STRING", "label": "LABEL_REPEATED"},
                {"name": "cluster", "number": CLUSTER_FIELD, "type": "TYPE_STRING"},
            ],
        },
    ],
}


def _describe() -> descriptor_pool.DescriptorPool:
    """A pool of our own: another module that registers the same names disturbs nobody."""
    file = cast("Message", cast("Any", descriptor_pb2).FileDescriptorProto())
    json_format.ParseDict(_FILE, file)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _describe()


def _new(name: str) -> Message:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))()
