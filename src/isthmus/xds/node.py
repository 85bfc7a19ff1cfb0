"""From a request's Node to who the proxy is. It refuses a node that has no Istio-style id."""

from collections.abc import Mapping
from typing import Any, cast

from envoy.config.core.v3 import base_pb2
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from isthmus.model.proxy import Proxy
from isthmus.model.service import ClusterId
from isthmus.xds.errors import ProtocolError

MOST_NODE_BYTES = 256 * 1024
_MOST_ID = 1024
_MOST_FIELDS = 256
_MOST_VALUE = 1024


def read_node(data: bytes) -> Proxy:
    """The proxy that a serialised `envoy.config.core.v3.Node` describes.

    Its id is `kind~address~pod.namespace~domain` (Istio: node id of a sidecar). Of the metadata only fields
    with a string of 1 to 1,024 characters, name included, are kept, 256 of them at most. Raises
    ProtocolError, naming the field.
    """
    if len(data) > MOST_NODE_BYTES:
        raise ProtocolError(f"node has {len(data)} bytes, more than {MOST_NODE_BYTES}")
    try:
        node = base_pb2.Node.FromString(data)
    except DecodeError as error:
        raise ProtocolError(f"node cannot be decoded: {error}") from None
    if len(node.id) > _MOST_ID:
        raise ProtocolError(f"node.id has {len(node.id)} characters, more than {_MOST_ID}")
    parts = node.id.split("~")
    if len(parts) != 4:
        raise ProtocolError(f"node.id {node.id!r} is not of the form kind~address~pod.namespace~domain")
    kind, address, workload, _domain = parts
    pod, dot, namespace = workload.rpartition(".")
    if not dot or not pod or not namespace:
        raise ProtocolError(f"node.id {node.id!r} names no pod.namespace in its third part")
    fields = cast("Mapping[str, struct_pb2.Value]", cast("Any", node.metadata).fields)
    metadata: dict[str, str] = {}
    for name, value in fields.items():
        text = value.string_value  # "" for another kind of value
        if text and len(name) + len(text) <= _MOST_VALUE and len(metadata) < _MOST_FIELDS:
            metadata[name] = text
    return Proxy(
        node_id=node.id,
        kind=kind,
        address=address,
        pod=pod,
        namespace=namespace,
        cluster=ClusterId(metadata.get("CLUSTER_ID", "")),
        metadata=metadata,
    )
