"""The golden cases: each a small mesh, seen by one proxy.

`python -m tests.translate.cases` writes what translation makes of them to `golden/`, for a person to review
the difference.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from isthmus.config.mesh import MeshConfig, OutboundMode, OutboundTrafficPolicy
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, PUSH_ORDER, ROUTE, Resource
from isthmus.model.service import Kind, Protocol, ServiceKey
from isthmus.model.workload import Health, InboundPort
from isthmus.translate.catalogue import Catalogue
from tests.translate.fake_view import EAST, FakeView, endpoint, pod, proxy, service

GOLDEN = Path(__file__).parent / "golden"
_MESSAGES: dict[str, type[Message]] = {
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTE: route_pb2.RouteConfiguration,
}


def nothing(_: FakeView) -> None:
    """No service: what every proxy gets."""


def two_clusters(view: FakeView) -> None:
    """One HTTP service in both clusters, in two zones, one endpoint draining and one not ready."""
    view.put(
        service("echo", (80, Protocol.HTTP), (9000, Protocol.GRPC), west="10.1.0.1", east="10.2.0.1"),
        endpoint("10.0.0.1", zone="z1"),
        endpoint("10.0.0.2", zone="z1", health=Health.DRAINING),
        endpoint("10.0.1.1", zone="z2", cluster=EAST, weight=3),
        endpoint("10.0.1.2", zone="z2", cluster=EAST, health=Health.UNREADY),
    )
    view.put(service("far", (80, Protocol.HTTP), namespace="other", east="10.2.0.2"))


def shared_port(view: FakeView) -> None:
    """TCP, HTTP and a sniffed service on one port number, and a UDP one that yields nothing."""
    view.put(service("db", (80, Protocol.TCP), west="10.1.0.1"), endpoint("10.0.0.1"))
    view.put(service("web", (80, Protocol.HTTP), west="10.1.0.2"), endpoint("10.0.0.2"))
    view.put(service("any", (80, Protocol.SNIFFED), west="10.1.0.3"), endpoint("10.0.0.3"))
    view.put(service("dns", (53, Protocol.UDP), west="10.1.0.4"), endpoint("10.0.0.4"))


def headless(view: FakeView) -> None:
    """Headless services of each sort on one port."""
    for name, protocol, address in (
        ("kv", Protocol.TCP, "10.0.0.1"),
        ("queue", Protocol.TCP, "10.0.0.2"),
        ("web", Protocol.HTTP, "10.0.0.3"),
        ("any", Protocol.SNIFFED, "10.0.0.4"),
    ):
        view.put(service(name, (7000, protocol), kind=Kind.HEADLESS), endpoint(address, port=7000))


def external_name(view: FakeView) -> None:
    """A name outside the mesh, by HTTP and by TCP."""
    view.put(
        service(
            "bank",
            (80, Protocol.HTTP),
            (5432, Protocol.TCP),
            kind=Kind.EXTERNAL_NAME,
            external_name="bank.example",
        )
    )


def inbound(view: FakeView) -> None:
    """A pod with a port of each sort; two services disagree on one of them."""
    server = pod("client", "10.0.0.9")
    view.pods[server.key] = server
    web, kv = ServiceKey("demo", "web"), ServiceKey("demo", "kv")
    view.selecting[server.key] = [
        InboundPort(kv, 81, 8080, "tcp", Protocol.TCP),
        InboundPort(web, 80, 8080, "http", Protocol.HTTP),
        InboundPort(web, 443, 8443, "https", Protocol.HTTPS),
        InboundPort(web, 9000, 9000, "grpc", Protocol.GRPC),
        InboundPort(web, 7070, 7070, "what", Protocol.SNIFFED),
        InboundPort(web, 8088, 8088, "http", Protocol.HTTP),
        InboundPort(web, 53, 53, "dns", Protocol.UDP),
    ]


def ipv6(view: FakeView) -> None:
    """Services and endpoints with IPv6 addresses."""
    view.put(service("web", (80, Protocol.HTTP), west="fd00::1"), endpoint("fd00:1::1"))
    view.put(service("db", (5432, Protocol.TCP), west="fd00::2"), endpoint("fd00:1::2", port=5432))


STRICT = MeshConfig(
    outbound_traffic_policy=OutboundTrafficPolicy(mode=OutboundMode.REGISTRY_ONLY),
    access_log_file="/dev/stdout",
)
CASES: dict[str, tuple[Callable[[FakeView], None], MeshConfig]] = {
    "nothing": (nothing, MeshConfig()),
    "two_clusters": (two_clusters, MeshConfig()),
    "shared_port": (shared_port, MeshConfig()),
    "headless": (headless, MeshConfig()),
    "external_name": (external_name, STRICT),
    "inbound": (inbound, MeshConfig()),
    "ipv6": (ipv6, MeshConfig()),
}


def resources_of(case: str) -> list[Resource]:
    """Everything that the proxy `client` in namespace `demo` of cluster `west` gets, in push order."""
    fill, mesh = CASES[case]
    view = FakeView()
    fill(view)
    scopes = Catalogue(view, mesh).scopes(proxy("client"))
    return [resource for type_url in PUSH_ORDER for scope in scopes for resource in scope.all(type_url)]


def golden_of(case: str) -> str:
    """The case's resources as YAML: short type → name → resource without its name.

    What the case `nothing` has alike is left out.
    """
    always = {resource.body for resource in resources_of("nothing")} if case != "nothing" else set[bytes]()
    found: dict[str, dict[str, Any]] = {}
    for resource in resources_of(case):
        if resource.body in always:
            continue
        message = _MESSAGES[resource.type_url].FromString(resource.body)
        fields = json.loads(MessageToJson(message, preserving_proto_field_name=True))
        fields.pop("name", None)
        fields.pop("cluster_name", None)
        found.setdefault(resource.type_url.rpartition(".")[2], {})[resource.name] = fields
    return yaml.safe_dump(found, sort_keys=True, width=110)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in CASES:
        (GOLDEN / f"{name}.yaml").write_text(golden_of(name))
