"""Istio's agent between Envoy and the control plane: what it asks for besides, on Envoy's own stream.

It answers DNS in its pod by name tables. Types that only it knows beside these (its proxy config, health),
that gateways and Wasm use (secrets, extension configs), and that nobody knows: none of them may end the
stream, or hold up what Envoy asks for.
"""

import asyncio

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.rpc.status_pb2 import Status
from grpc import aio

from isthmus.model.resources import CLUSTER, ENDPOINT
from isthmus.model.view import Changes
from tests.compat.adsc import delta_client, istio_node, whole_client
from tests.compat.test_adsc import DB, DB_CLUSTER, Stage, stage
from tests.translate.fake_view import endpoint

_PREFIX = "type.googleapis.com/"
HEALTH = _PREFIX + "istio.v1.HealthInformation"
ALL_OF = _PREFIX + "istio.security.Authorization"
OTHERS = {
    _PREFIX + "istio.mesh.v1alpha1.ProxyConfig": (),
    _PREFIX + "envoy.config.core.v3.TypedExtensionConfig": ("extensions.istio.io/wasmplugin/demo.filter",),
    _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret": ("kubernetes://credential",),
    _PREFIX + "istio.workload.Address": (),
    ALL_OF: ("*",),
    _PREFIX + "istio.v1.WorkloadHealth": ("anything",),
    "istio.io/debug/syncz": (),
    "istio.io/connections": (),
}
"""Type and names of a request."""


async def read(call: "aio.StreamStreamCall[bytes, bytes]") -> bytes:
    data = await call.read()
    assert isinstance(data, bytes), f"the stream ended: {await call.code()}"
    return data


def move(mesh: Stage, address: str) -> None:
    mesh.view.backing[DB][5432] = [endpoint(address, port=5432)]
    mesh.change(Changes(endpoints=frozenset({DB})))


def addresses(body: bytes) -> list[str]:
    (locality,) = ClusterLoadAssignment.FromString(body).endpoints
    return [one.endpoint.address.socket_address.address for one in locality.lb_endpoints]


async def test_types_of_others_neither_end_nor_hold_up_a_stream_in_the_whole_form() -> None:
    async with stage() as mesh, whole_client(mesh.port) as client:
        first = DiscoveryRequest(type_url=CLUSTER, node=istio_node("web-1"))
        await client.call.write(first.SerializeToString())
        for type_url, names in OTHERS.items():
            request = DiscoveryRequest(type_url=type_url, resource_names=names)
            await client.call.write(request.SerializeToString())
        unwell = DiscoveryRequest(type_url=HEALTH, error_detail=Status(code=13, message="the app is down"))
        for request in (DiscoveryRequest(type_url=HEALTH), unwell, DiscoveryRequest(type_url=HEALTH)):
            await client.call.write(request.SerializeToString())
        endpoints = DiscoveryRequest(type_url=ENDPOINT, resource_names=[DB_CLUSTER])
        await client.call.write(endpoints.SerializeToString())

        async with asyncio.timeout(20):
            found = [DiscoveryResponse.FromString(await read(client.call)) for _ in range(3)]
            heard = {one.type_url: one for one in found}
            # All that there are of a type were asked for: there are none.
            assert heard.keys() == {CLUSTER, ENDPOINT, ALL_OF}
            assert not heard[ALL_OF].resources
            for nonce in ("none of yours", heard[ENDPOINT].nonce):
                endpoints.response_nonce = nonce
                await client.call.write(endpoints.SerializeToString())
            move(mesh, "10.0.0.8")
            after = DiscoveryResponse.FromString(await read(client.call))
        assert (after.type_url, addresses(after.resources[0].value)) == (ENDPOINT, ["10.0.0.8"])
        (status,) = mesh.hub.clients()
        assert {one.type_url for one in status.types if one.sent} == heard.keys()
        assert mesh.hub.counters.violations == 0


async def test_types_of_others_neither_end_nor_hold_up_a_stream_in_the_delta_form() -> None:
    """What is named and is not there is said to be gone (xDS: "Deleting resources"); the agent ignores it."""
    async with stage() as mesh, delta_client(mesh.port) as client:
        first = DeltaDiscoveryRequest(type_url=CLUSTER, node=istio_node("web-1"))
        await client.call.write(first.SerializeToString())
        for type_url, names in OTHERS.items():
            request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
            await client.call.write(request.SerializeToString())
        unwell = DeltaDiscoveryRequest(type_url=HEALTH, error_detail=Status(code=13, message="down"))
        for request in (DeltaDiscoveryRequest(type_url=HEALTH), unwell):
            await client.call.write(request.SerializeToString())
        endpoints = DeltaDiscoveryRequest(type_url=ENDPOINT, resource_names_subscribe=[DB_CLUSTER])
        await client.call.write(endpoints.SerializeToString())
        heard: dict[str, DeltaDiscoveryResponse] = {}
        async with asyncio.timeout(20):
            while not {CLUSTER, ENDPOINT} <= heard.keys():
                response = DeltaDiscoveryResponse.FromString(await read(client.call))
                heard[response.type_url] = response
                accepted = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
                await client.call.write(accepted.SerializeToString())
            move(mesh, "10.0.0.8")
            after = DeltaDiscoveryResponse.FromString(await read(client.call))
            while after.type_url != ENDPOINT:
                after = DeltaDiscoveryResponse.FromString(await read(client.call))
        assert addresses(after.resources[0].resource.value) == ["10.0.0.8"]
        for type_url in heard.keys() - {CLUSTER, ENDPOINT}:
            assert not heard[type_url].resources
            assert set(heard[type_url].removed_resources) <= set(OTHERS[type_url])
        assert mesh.hub.counters.violations == 0
