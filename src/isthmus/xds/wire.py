"""The few protobuf encodings that are worth doing by hand, and the parsing that is not.

Written out are response messages as a concatenation of parts made once per resource. Read by hand are only
the top-level field headers of a request: in the state of the world an ACK repeats every subscribed name, and
1,000 proxies that ACK 500 names each are half a million strings a push. Whatever is not plainly the common
shape goes to protobuf. Field numbers: envoy/service/discovery/v3/discovery.proto.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from isthmus.lib.protobuf import varint
from isthmus.model.resources import Resource
from isthmus.xds.errors import ProtocolError

_NAMES = 0x1A
"""Tag of `resource_names` (3) and of `resource_names_subscribe` (3), length-delimited."""
_WHOLE = frozenset((0x0A, 0x12, 0x22, 0x2A))
"""Tags of DiscoveryRequest's version_info (1), node (2), type_url (4) and response_nonce (5)."""
_DELTA = frozenset((0x0A, 0x12, 0x32))
"""Tags of DeltaDiscoveryRequest's node (1), type_url (2) and response_nonce (6)."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """A DiscoveryRequest. `names` is the raw block of `resource_names` fields, to be compared before it is
    parsed.

    `error` is the NACK's message, None in an ACK. `node` is the serialised Node, empty when absent.
    """

    type_url: str
    nonce: str
    names: bytes
    error: str | None = None
    node: bytes = b""


class DeltaRequest(msgspec.Struct, frozen=True):
    """A DeltaDiscoveryRequest. `known` is `initial_resource_versions`: name → version."""

    type_url: str
    nonce: str
    subscribe: frozenset[str] = frozenset()
    unsubscribe: frozenset[str] = frozenset()
    known: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    error: str | None = None
    node: bytes = b""


def delimited(tag: int, value: bytes) -> bytes:
    """A length-delimited field with a one-byte tag."""
    return bytes((tag,)) + varint(len(value)) + value


def resource_prefix(resource: Resource) -> bytes:
    """What precedes `resource.body` in a DiscoveryResponse: the header of one `resources` (2) Any."""
    return _any_prefix(0x12, resource)


def delta_resource_prefix(resource: Resource) -> bytes:
    """What precedes `resource.body` in a DeltaDiscoveryResponse: name and version first, so that the body is
    last.
    """
    inner = (
        delimited(0x1A, resource.name.encode())
        + delimited(0x0A, resource.version.encode())
        + _any_prefix(0x12, resource)
    )
    return b"\x12" + varint(len(inner) + len(resource.body)) + inner


def _any_prefix(tag: int, resource: Resource) -> bytes:
    inner = delimited(0x0A, resource.type_url.encode()) + b"\x12" + varint(len(resource.body))
    return bytes((tag,)) + varint(len(inner) + len(resource.body)) + inner


def whole_response(type_url: str, nonce: str, resources: Iterable[bytes]) -> bytes:
    """A DiscoveryResponse whose version is its nonce, around ready `resources` fields."""
    tag = nonce.encode()
    ends = delimited(0x22, type_url.encode()) + delimited(0x2A, tag)
    return b"".join((delimited(0x0A, tag), *resources, ends))


def delta_response(type_url: str, nonce: str, resources: Iterable[bytes], removed: Iterable[str]) -> bytes:
    """A DeltaDiscoveryResponse around ready `resources` fields."""
    tag = nonce.encode()
    gone = (delimited(0x32, name.encode()) for name in removed)
    ends = delimited(0x22, type_url.encode()) + delimited(0x2A, tag)
    return b"".join((delimited(0x0A, tag), *resources, *gone, ends))


def names_block(names: Iterable[str]) -> bytes:
    """The `resource_names` fields of these names, in their order."""
    return b"".join(delimited(_NAMES, name.encode()) for name in names)


def names_of(block: bytes) -> list[str]:
    """The names in a block of `resource_names` fields. Raises ProtocolError."""
    try:
        return list(discovery_pb2.DiscoveryRequest.FromString(block).resource_names)
    except DecodeError as error:
        raise ProtocolError(f"resource_names cannot be decoded: {error}") from None


def read_request(data: bytes, blocks: Iterable[bytes] = ()) -> Request:
    """Decode a DiscoveryRequest. `blocks` are name blocks seen before: a match is returned as the same
    object.

    Raises ProtocolError.
    """
    found = _scan(data, _WHOLE, blocks)
    if found is not None:
        fields, names = found
        return Request(_text(fields, 0x22), _text(fields, 0x2A), names, node=fields.get(0x12, b""))
    try:
        full = discovery_pb2.DiscoveryRequest.FromString(data)
    except DecodeError as error:
        raise ProtocolError(f"the message is no DiscoveryRequest: {error}") from None
    return Request(
        type_url=full.type_url,
        nonce=full.response_nonce,
        names=names_block(full.resource_names),
        error=full.error_detail.message if full.HasField("error_detail") else None,
        node=full.node.SerializeToString() if full.HasField("node") else b"",
    )


def read_delta_request(data: bytes) -> DeltaRequest:
    """Decode a DeltaDiscoveryRequest. Raises ProtocolError."""
    found = _scan(data, _DELTA)
    if found is not None:
        fields, names = found
        subscribe = frozenset(names_of(names)) if names else frozenset[str]()
        return DeltaRequest(_text(fields, 0x12), _text(fields, 0x32), subscribe, node=fields.get(0x0A, b""))
    try:
        full = discovery_pb2.DeltaDiscoveryRequest.FromString(data)
    except DecodeError as error:
        raise ProtocolError(f"the message is no DeltaDiscoveryRequest: {error}") from None
    return DeltaRequest(
        type_url=full.type_url,
        nonce=full.response_nonce,
        subscribe=frozenset(full.resource_names_subscribe),
        unsubscribe=frozenset(full.resource_names_unsubscribe),
        known=dict(full.initial_resource_versions),
        error=full.error_detail.message if full.HasField("error_detail") else None,
        node=full.node.SerializeToString() if full.HasField("node") else b"",
    )


def _text(fields: Mapping[int, bytes], tag: int) -> str:
    try:
        return fields.get(tag, b"").decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a request's text is no UTF-8: {error}") from None


def _scan(
    data: bytes, tags: Collection[int], blocks: Iterable[bytes] = ()
) -> tuple[dict[int, bytes], bytes] | None:
    """The message's fields by tag, and its names, if it is nothing but one run of names and fields with these
    tags, each at most once; else None.
    """
    fields: dict[int, bytes] = {}
    names = b""
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        if tag == _NAMES:
            if names:
                return None
            stop = _end_of_names(data, at, blocks)
            if stop is None:
                return None
            names, at = stop
            continue
        header = _length(data, at + 1)
        if tag not in tags or tag in fields or header is None:
            return None
        start, size = header
        at = start + size
        fields[tag] = data[start:at]
    return (fields, names) if at == end else None


def _end_of_names(data: bytes, start: int, blocks: Iterable[bytes]) -> tuple[bytes, int] | None:
    """The run of `resource_names` fields that begins at `start`, and where it ends."""
    for block in blocks:
        after = start + len(block)
        if block and data.startswith(block, start) and data[after : after + 1] != b"\x1a":
            return block, after
    at, end = start, len(data)
    while at < end and data[at] == _NAMES:
        header = _length(data, at + 1)
        if header is None:
            return None
        at = header[0] + header[1]
    return data[start:at], at


def _length(data: bytes, at: int) -> tuple[int, int] | None:
    """The varint length at `at`: (where the value starts, its size), or None where that runs past the end."""
    end = len(data)
    if at < end and data[at] < 0x80:
        return (at + 1, data[at]) if at + 1 + data[at] <= end else None
    size = shift = 0
    while at < end and shift < 35:
        byte = data[at]
        at += 1
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (at, size) if at + size <= end else None
        shift += 7
    return None
