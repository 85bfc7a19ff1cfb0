"""The golden cases: each a small mesh, seen by one proxy.

`python -m tests.translate.cases` writes what translation makes of them to `golden/`, for a person to review
the difference.
"""

import dataclasses
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
from msgspec.structs import replace

from isthmus.config.accepted_tls import PeerAuthentications
from isthmus.config.mesh import MeshConfig, MeshTls, OutboundMode, OutboundTrafficPolicy, TlsVersion
from isthmus.config.peer_authentication import PEER_AUTHENTICATION
from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref
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
    server = pod("client", "10.0.0.9", tls=True, app="server")
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
    """A pod of both families; services and endpoints with IPv6 addresses."""
    known = pod("client", "10.0.0.9", tls=True)
    view.pods[known.key] = dataclasses.replace(known, addresses=(*known.addresses, "fd00:1::9"))
    view.put(service("web", (80, Protocol.HTTP), west="fd00::1"), endpoint("fd00:1::1"))
    view.put(service("db", (5432, Protocol.TCP), west="fd00::2"), endpoint("fd00:1::2", port=5432))


def mutual_tls(view: FakeView) -> None:
    """A service of two accounts, with an endpoint that takes no mutual TLS and one whose pod is to come;
    headless ones of which all or not all endpoints do.
    """
    blue = pod("blue", "10.0.0.1", account="blue", tls=True)
    green = pod("green", "10.0.1.1", account="green", tls=True, cluster=EAST)
    plain = pod("plain", "10.0.0.2", account="green")
    awaited = replace(endpoint("10.0.0.3"), awaited=True)
    members = (
        endpoint("10.0.0.1", behind=blue),
        endpoint("10.0.0.2", behind=plain),
        endpoint("10.0.1.1", behind=green, cluster=EAST),
    )
    ports = (80, Protocol.HTTP), (9000, Protocol.GRPC), (9999, Protocol.TCP)
    view.put(service("echo", *ports, west="10.1.0.1"), *members, awaited)
    checks = service("istio-policy", (15004, Protocol.GRPC), namespace="istio-system", west="10.1.0.9")
    view.put(checks, endpoint("10.0.0.7", port=15004, behind=pod("policy", "10.0.0.7", account="policy")))
    view.put(service("all", (7000, Protocol.TCP), kind=Kind.HEADLESS), endpoint("10.0.0.1", behind=blue))
    view.put(service("some", (7000, Protocol.TCP), kind=Kind.HEADLESS), *members[:2])


def no_certificate(view: FakeView) -> None:
    """A proxy that cannot speak TLS, as client and as server."""
    mutual_tls(view)
    inbound(view)
    server = pod("client", "10.0.0.9", app="server")
    view.pods[server.key] = server


def peers(namespace: str, mode: str, **ports: str) -> PeerAuthentications:
    """What one namespace accepts, and single ports (`p8080="STRICT"`) of the workload `app: server`."""
    store = ConfigStore(PEER_AUTHENTICATION)
    levels = {port.removeprefix("p"): {"mode": mode} for port, mode in ports.items()}
    selected = {"selector": {"matchLabels": {"app": "server"}}, "portLevelMtls": levels}
    for name, spec in (("default", {"mtls": {"mode": mode}}), ("server", selected if ports else {})):
        metadata = {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"}
        assert store.apply(Ref(namespace, name), {"metadata": metadata, "spec": spec}) is None
    return PeerAuthentications("istio-system", store)


STRICT = MeshConfig(
    outbound_traffic_policy=OutboundTrafficPolicy(mode=OutboundMode.REGISTRY_ONLY),
    access_log_file="/dev/stdout",
)
TWO_DOMAINS = MeshConfig(
    trust_domain="mesh",
    trust_domain_aliases=("old",),
    mesh_mtls=MeshTls(min_protocol_version=TlsVersion.TLSV1_3),
    mixer_check_server="istio-policy.istio-system.svc.cluster.local:15004",
)
NOBODY = PeerAuthentications("istio-system")
CASES: dict[str, tuple[Callable[[FakeView], None], MeshConfig, PeerAuthentications]] = {
    "nothing": (nothing, MeshConfig(), NOBODY),
    "two_clusters": (two_clusters, MeshConfig(), NOBODY),
    "shared_port": (shared_port, MeshConfig(), NOBODY),
    "headless": (headless, MeshConfig(), NOBODY),
    "external_name": (external_name, STRICT, NOBODY),
    "inbound": (inbound, MeshConfig(), NOBODY),
    "ipv6": (ipv6, MeshConfig(), NOBODY),
    "mutual_tls": (mutual_tls, TWO_DOMAINS, NOBODY),
    "no_auto_mtls": (mutual_tls, MeshConfig(enable_auto_mtls=False), NOBODY),
    "refusing_servers": (mutual_tls, MeshConfig(), peers("demo", "DISABLE")),
    "no_certificate": (
        no_certificate,
        MeshConfig(),
        peers("demo", "STRICT", p8443="DISABLE", p8080="PERMISSIVE"),
    ),
    "inbound_strict": (inbound, MeshConfig(), peers("demo", "STRICT", p8443="DISABLE", p6000="PERMISSIVE")),
    "inbound_disable": (
        inbound,
        MeshConfig(),
        peers("demo", "DISABLE", p8443="STRICT", p6000="STRICT", p15006="DISABLE"),
    ),
}


def resources_of(case: str) -> list[Resource]:
    """Everything that the proxy `client` in namespace `demo` of cluster `west` gets, in push order."""
    fill, mesh, peers = CASES[case]
    view = FakeView()
    known = pod("client", "10.0.0.9", tls=True)
    view.pods[known.key] = known
    fill(view)
    scopes = Catalogue(view, mesh, peers=peers).scopes(proxy("client"))
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
