"""Name tables, by which Istio's agent answers DNS: what is in them, and when a new one comes."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message
from msgspec.structs import replace

from isthmus.model.resources import LISTENER, NAME_TABLE
from isthmus.model.service import ClusterId, Kind, Network, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import Endpoint, Health
from isthmus.translate.exports import Exports
from isthmus.translate.name_table import NameTable, TableEntries
from tests.compat.adsc import delta_client, istio_node, whole_client
from tests.compat.test_adsc import DB, Stage, stage
from tests.compat.test_istio_agent import read
from tests.translate.fake_view import EAST, WEST, FakeView, endpoint, service


def _field(name: str, number: int, of: str = "", *, many: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "number": number,
        "label": "LABEL_REPEATED" if many else "LABEL_OPTIONAL",
        **({"type": "TYPE_MESSAGE", "typeName": of} if of else {"type": "TYPE_STRING"}),
    }


_INFO = {
    "name": "NameInfo",
    "field": [
        _field("ips", 1, many=True),
        _field("registry", 2),
        _field("shortname", 3),
        _field("namespace", 4),
    ],
}
_ENTRY = {
    "name": "TableEntry",
    "options": {"mapEntry": True},
    "field": [_field("key", 1), _field("value", 2, ".nds.NameTable.NameInfo")],
}
_SCHEMA = {
    "name": "nds.proto",
    "package": "nds",
    "syntax": "proto3",
    "messageType": [
        {
            "name": "NameTable",
            "nestedType": [_INFO, _ENTRY],
            "field": [_field("table", 1, ".nds.NameTable.TableEntry", many=True)],
        }
    ],
}


def _message_type() -> type[Message]:
    """As its users know it: made here from its schema, apart from what encodes it."""
    file = json_format.ParseDict(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool = cast("Any", descriptor_pool.DescriptorPool())
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("nds.NameTable"))


_TABLE = _message_type()


def table_of(view: FakeView, cluster: ClusterId, *local: ServiceKey) -> NameTable:
    exports = Exports((), always=ServiceKey("", ""))
    for key in view.services():
        exports.note(key, view.service(key))
    return NameTable(TableEntries(view, cluster, local), exports, "")


def entries(body: bytes) -> Mapping[str, Mapping[str, Any]]:
    found = json_format.MessageToDict(_TABLE.FromString(body))
    return cast("Mapping[str, Mapping[str, Any]]", found.get("table", {}))


def ips(body: bytes) -> dict[str, list[str]]:
    return {host: entry["ips"] for host, entry in entries(body).items()}


def named(pod: Endpoint, name: str) -> Endpoint:
    return replace(pod, hostname=name)


def test_a_name_means_the_own_clusters_address_and_another_ones_where_it_has_none() -> None:
    view = FakeView()
    view.put(service("echo", (80, Protocol.HTTP), west="10.1.0.1", east="10.2.0.1"), endpoint("10.0.0.1"))
    view.put(service("far", (80, Protocol.HTTP), east="10.2.0.2"))
    view.put(service("ext", (80, Protocol.HTTP), kind=Kind.EXTERNAL_NAME, external_name="example.org"))
    view.put(service("none", (80, Protocol.HTTP), kind=Kind.HEADLESS))
    peers = service("peers", (9000, Protocol.TCP), (9001, Protocol.TCP), kind=Kind.HEADLESS)
    view.put(
        peers,
        named(endpoint("10.0.0.4"), "peer-0"),
        named(endpoint("10.0.1.4", cluster=EAST), "peer-0"),
        named(endpoint("10.0.1.5", cluster=EAST), "peer-1"),
        named(endpoint("10.0.0.6", health=Health.UNREADY), "peer-2"),
        endpoint("10.9.0.1", cluster=EAST, network=Network("far")),
    )
    table = table_of(view, WEST)
    assert ips(table.body("")) == {
        "echo.demo.svc.cluster.local": ["10.1.0.1"],
        "far.demo.svc.cluster.local": ["10.2.0.2"],
        "peers.demo.svc.cluster.local": ["10.0.0.4", "10.0.1.4", "10.0.1.5"],
        "peer-0.peers.demo.svc.cluster.local": ["10.0.0.4"],
        "peer-1.peers.demo.svc.cluster.local": ["10.0.1.5"],
    }
    assert ips(table_of(view, EAST).body(""))["echo.demo.svc.cluster.local"] == ["10.2.0.1"]
    only_here = table_of(view, WEST, peers.key)
    assert ips(only_here.body(""))["peers.demo.svc.cluster.local"] == ["10.0.0.4"]
    short = entries(table.body(""))["peer-0.peers.demo.svc.cluster.local"]
    assert (short["registry"], short["shortname"], short["namespace"]) == (
        "Kubernetes",
        "peer-0.peers",
        "demo",
    )


def move(mesh: Stage) -> None:
    """What changes no name."""
    mesh.view.backing[DB][5432] = [endpoint("10.0.0.8", port=5432)]
    mesh.change(Changes(endpoints=frozenset({DB})))


def add(mesh: Stage, name: str, address: str) -> None:
    mesh.view.put(service(name, (5000, Protocol.TCP), west=address))
    mesh.change(Changes(services=frozenset({ServiceKey("demo", name)})))


async def test_a_new_table_comes_when_a_name_changes_and_only_then_in_both_forms() -> None:
    async with stage() as mesh, whole_client(mesh.port) as whole, delta_client(mesh.port) as delta:
        # The agent adds its request once Envoy has asked for listeners, and answers for itself.
        node = istio_node("web-1")
        await whole.call.write(DiscoveryRequest(type_url=LISTENER, node=node).SerializeToString())
        await whole.call.write(DiscoveryRequest(type_url=NAME_TABLE).SerializeToString())
        await delta.call.write(DeltaDiscoveryRequest(type_url=LISTENER, node=node).SerializeToString())
        await delta.call.write(DeltaDiscoveryRequest(type_url=NAME_TABLE).SerializeToString())

        async def next_whole() -> bytes:
            while True:
                response = DiscoveryResponse.FromString(await read(whole.call))
                accepted = DiscoveryRequest(
                    type_url=response.type_url,
                    version_info=response.version_info,
                    response_nonce=response.nonce,
                )
                await whole.call.write(accepted.SerializeToString())
                if response.type_url == NAME_TABLE:
                    (table,) = response.resources
                    return table.value

        async def next_delta() -> bytes:
            while True:
                response = DeltaDiscoveryResponse.FromString(await read(delta.call))
                accepted = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
                await delta.call.write(accepted.SerializeToString())
                if response.type_url == NAME_TABLE:
                    (table,) = response.resources
                    return table.resource.value

        async with asyncio.timeout(20):
            for heard in (next_whole, next_delta):
                assert ips(await heard())["db.demo.svc.cluster.local"] == ["10.1.0.2"]
            move(mesh)
            add(mesh, "new", "10.1.0.77")
            for heard in (next_whole, next_delta):
                assert ips(await heard())["new.demo.svc.cluster.local"] == ["10.1.0.77"]
        for client in mesh.hub.clients():
            (table,) = [one for one in client.types if one.type_url == NAME_TABLE]
            assert not table.pending
