"""Who a proxy says it is."""

import pytest
from envoy.config.core.v3 import base_pb2

from isthmus.xds.errors import ProtocolError
from isthmus.xds.node import MOST_NODE_BYTES, read_node


def test_a_sidecar_says_its_pod_namespace_and_cluster() -> None:
    node = base_pb2.Node(id="sidecar~10.1.2.3~echo-5d9c.demo~demo.svc.cluster.local")
    node.metadata["CLUSTER_ID"] = "west"
    node.metadata["NAMESPACE"] = "demo"
    node.metadata["LABELS"] = {"app": "echo"}
    node.metadata["LONG"] = "x" * 5000
    proxy = read_node(node.SerializeToString())
    assert (proxy.kind, proxy.address, proxy.pod, proxy.namespace) == (
        "sidecar",
        "10.1.2.3",
        "echo-5d9c",
        "demo",
    )
    assert proxy.cluster == "west"
    assert proxy.metadata == {"CLUSTER_ID": "west", "NAMESPACE": "demo"}


def test_a_pod_name_may_have_dots() -> None:
    node = base_pb2.Node(id="sidecar~10.1.2.3~a.b.c~c.svc.cluster.local")
    proxy = read_node(node.SerializeToString())
    assert (proxy.pod, proxy.namespace) == ("a.b", "c")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\xff", "node cannot be decoded"),
        (base_pb2.Node(id="envoy-1").SerializeToString(), "'envoy-1' is not of the form"),
        (base_pb2.Node(id="sidecar~1.2.3.4~nodot~d").SerializeToString(), "names no pod.namespace"),
        (base_pb2.Node(id="x" * 5000).SerializeToString(), "node.id has 5000 characters"),
        (b"\0" * (MOST_NODE_BYTES + 1), "bytes, more than"),
    ],
)
def test_any_other_node_is_refused_by_field(data: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        read_node(data)
