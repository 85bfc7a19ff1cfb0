"""A proxy that asks for everything, as a sidecar does, and ACKs whatever it gets. It decodes as little as it
can.
"""

from collections.abc import Iterator

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.service.discovery.v3 import discovery_pb2

_PREFIX = "type.googleapis.com/"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
_HCM = _PREFIX + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
METHODS = {"sotw": _SERVICE + "StreamAggregatedResources", "delta": _SERVICE + "DeltaAggregatedResources"}


def node(index: int, cluster: str, namespace: str = "bench") -> base_pb2.Node:
    """The node of proxy `index`, as Istio's agent writes it."""
    address = f"10.{200 + (index >> 16)}.{index >> 8 & 255}.{index & 255}"
    pod = f"proxy-{index}"
    made = base_pb2.Node(id=f"sidecar~{address}~{pod}.{namespace}~{namespace}.svc.cluster.local")
    for name, value in (
        ("CLUSTER_ID", cluster),
        ("NAMESPACE", namespace),
        ("ISTIO_VERSION", "1.30.3"),
        ("MESH_ID", "cluster.local"),
        ("GENERATOR", ""),
        ("INSTANCE_IPS", address),
    ):
        made.metadata[name] = value
    return made


def first_request(form: str, type_url: str, names: list[str], who: base_pb2.Node | None = None) -> bytes:
    """The first request of a type on a stream."""
    if form == "sotw":
        return discovery_pb2.DiscoveryRequest(
            node=who, type_url=type_url, resource_names=names
        ).SerializeToString()
    return discovery_pb2.DeltaDiscoveryRequest(
        node=who, type_url=type_url, resource_names_subscribe=names
    ).SerializeToString()


def ack_frame(form: str, type_url: str, names: list[str]) -> tuple[bytes, bytes]:
    """An ACK's bytes before and after its nonce; the nonce's own field header belongs in between."""
    if form == "sotw":
        head = discovery_pb2.DiscoveryRequest(type_url=type_url, resource_names=names).SerializeToString()
        return head, b"\x2a"
    return discovery_pb2.DeltaDiscoveryRequest(type_url=type_url).SerializeToString(), b"\x32"


def fields(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Top-level length-delimited fields as (number, start, end); other wire types end the walk."""
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        if tag & 7 != 2:
            return
        size = shift = 0
        while True:
            at += 1
            size |= (data[at] & 127) << shift
            shift += 7
            if data[at] < 128:
                break
        at += 1
        yield tag >> 3, at, at + size
        at += size


def type_and_nonce(data: bytes) -> tuple[str, bytes]:
    """Type URL (4) and nonce (5) of a response of either form."""
    type_url, nonce = "", b""
    for number, start, end in fields(data):
        if number == 4:
            type_url = data[start:end].decode()
        elif number == 5:
            nonce = data[start:end]
    return type_url, nonce


def bodies(form: str, data: bytes) -> list[bytes]:
    """The serialised resources of a response."""
    if form == "sotw":
        return [one.value for one in discovery_pb2.DiscoveryResponse.FromString(data).resources]
    return [one.resource.value for one in discovery_pb2.DeltaDiscoveryResponse.FromString(data).resources]


def endpoint_names(clusters: list[bytes]) -> list[str]:
    """What a proxy with these clusters asks endpoints for."""
    decoded = (cluster_pb2.Cluster.FromString(one) for one in clusters)
    return [
        one.eds_cluster_config.service_name or one.name
        for one in decoded
        if one.type == cluster_pb2.Cluster.EDS
    ]


def route_names(listeners: list[bytes]) -> list[str]:
    """What a proxy with these listeners asks routes for."""
    names: dict[str, None] = {}
    for body in listeners:
        listener = listener_pb2.Listener.FromString(body)
        chains = [
            *listener.filter_chains,
            *([listener.default_filter_chain] if listener.HasField("default_filter_chain") else []),
        ]
        for chain in chains:
            for one in chain.filters:
                if one.typed_config.type_url == _HCM:
                    manager = http_connection_manager_pb2.HttpConnectionManager.FromString(
                        one.typed_config.value
                    )
                    if manager.rds.route_config_name:
                        names[manager.rds.route_config_name] = None
    return list(names)
