"""A real Envoy, configured by a small ADS server in the test's own process.

The server is no part of what is tested: it sends what it is given and writes down what Envoy refuses. Ports
that a sidecar owns (15001, 15006) become any free ones, as many tests share one machine.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
from envoy.config.listener.v3 import listener_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from isthmus.lib.binaries import find_envoy
from isthmus.lib.lifecycle import task_scope
from isthmus.model.resources import CLUSTER, LISTENER, Resource
from tests.translate.fake_sds import credential, serving_secrets

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_PATIENCE = 20.0
CLIENT = "spiffe://cluster.local/ns/demo/sa/default"


@dataclass(slots=True)
class Ads:
    """What one Envoy is sent, by type and name, and what it refused."""

    resources: dict[str, dict[str, AnyMessage]] = field(default_factory=dict[str, dict[str, AnyMessage]])
    refusals: list[str] = field(default_factory=list[str])
    asked: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    unconfirmed: dict[str, str] = field(default_factory=dict[str, str])
    outgoing: "asyncio.Queue[bytes]" = field(default_factory=lambda: asyncio.Queue[bytes](64))
    _sent: int = 0

    def put(self, resources: Iterable[Resource]) -> None:
        """Add resources or replace them, and send their types to an Envoy that asked for them."""
        changed = list(resources)
        for resource in changed:
            message = AnyMessage(type_url=resource.type_url, value=resource.body)
            self.resources.setdefault(resource.type_url, {})[resource.name] = message
        for type_url in {resource.type_url for resource in changed} & self.asked.keys():
            self._send(type_url)

    def receive(self, request: discovery_pb2.DiscoveryRequest) -> None:
        """A request is a refusal, a subscription that differs, or the acceptance of what was sent last."""
        type_url, names = request.type_url, list(request.resource_names)
        if request.HasField("error_detail"):
            self.refusals.append(f"{type_url}: {request.error_detail.message}")
        if self.asked.get(type_url) != names:
            self.asked[type_url] = names
            self._send(type_url)
        elif request.response_nonce == self.unconfirmed.get(type_url):
            del self.unconfirmed[type_url]

    def _send(self, type_url: str) -> None:
        known = self.resources.get(type_url, {})
        names = self.asked[type_url] or list(known)
        self._sent += 1
        self.unconfirmed[type_url] = str(self._sent)
        response = discovery_pb2.DiscoveryResponse(
            version_info=str(self._sent),
            nonce=str(self._sent),
            type_url=type_url,
            resources=[known[name] for name in names if name in known],
        )
        self.outgoing.put_nowait(response.SerializeToString())


@dataclass(slots=True)
class RealEnvoy:
    """A running Envoy that has everything it was sent."""

    ads: Ads
    log: Path
    admin: str
    session: aiohttp.ClientSession

    async def ask(self, path: str) -> Any:
        """A page of the admin interface, as JSON."""
        async with self.session.get(f"{self.admin}{path}") as response:
            return json.loads(await response.text())

    async def text(self, path: str) -> str:
        """A page of the admin interface."""
        async with self.session.get(f"{self.admin}{path}") as response:
            return await response.text()

    async def address_of(self, listener: str) -> str:
        """Where a listener really listens, as `HOST:PORT`."""
        for status in (await self.ask("/listeners?format=json"))["listener_statuses"]:
            if status["name"] == listener:
                address = status["local_address"]["socket_address"]
                return f"{address['address']}:{address['port_value']}"
        raise AssertionError(f"no listener {listener}")

    async def settled(self) -> None:
        """Wait until everything sent is accepted or refused, and nothing is warming."""
        await _until(self._is_settled)

    async def _is_settled(self) -> bool:
        if self.ads.unconfirmed or not {CLUSTER, LISTENER} <= self.ads.asked.keys():
            return False
        if (await self.text("/ready")).strip() != "LIVE":
            return False
        configs = (await self.ask("/config_dump"))["configs"]
        sections = [section for config in configs for section in config.items()]
        return not any(
            (name == "dynamic_warming_clusters" and entries)
            or (name == "dynamic_listeners" and any("warming_state" in entry for entry in entries))
            for name, entries in sections
        )


@asynccontextmanager
async def running_envoy(
    folder: Path, resources: Sequence[Resource], *, identity: str = CLIENT
) -> AsyncGenerator[RealEnvoy]:
    """An Envoy that was sent the resources and has that identity; `folder` takes its files.

    Ready when it has settled.
    """
    ads = Ads()
    ads.put(with_free_ports(resources))
    async with (
        _serving(ads) as port,
        serving_secrets(credential(identity)) as secrets,
        aiohttp.ClientSession() as session,
    ):
        config, admin, log = folder / "bootstrap.json", folder / "admin", folder / "envoy.log"
        config.write_text(json.dumps(_bootstrap(port, secrets)))
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(str(find_envoy()), "-c", str(config), "--admin-address-path", str(admin)),
                *("--disable-hot-restart", "--concurrency", "1", "-l", "warning"),
                *("--drain-strategy", "immediate"),
                stdout=output,
                stderr=output,
            )
        try:

            async def started() -> bool:
                return process.returncode is not None or (admin.exists() and bool(admin.read_text()))

            await _until(started)
            assert process.returncode is None, log.read_text()
            envoy = RealEnvoy(ads, log, f"http://{admin.read_text()}", session)
            await envoy.settled()
            yield envoy
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def with_free_ports(resources: Iterable[Resource]) -> list[Resource]:
    """The same, with listeners that bind to a port binding to any free one of the loopback."""
    return [_with_free_port(r) if r.type_url == LISTENER else r for r in resources]


def bound(resource: Resource) -> Resource:
    """A listener that would bind to nothing, made to bind to a free port of the loopback."""
    listener = listener_pb2.Listener.FromString(resource.body)
    listener.ClearField("bind_to_port")
    return _with_free_port(
        Resource(resource.type_url, resource.name, resource.version, listener.SerializeToString())
    )


def at(resource: Resource, address: str, port: int) -> Resource:
    """A listener at another address, which it keeps."""
    listener = listener_pb2.Listener.FromString(resource.body)
    listener.address.socket_address.address = address
    listener.address.socket_address.port_value = port
    listener.bind_to_port.value = True
    return Resource(resource.type_url, resource.name, resource.version, listener.SerializeToString())


def _with_free_port(resource: Resource) -> Resource:
    listener = listener_pb2.Listener.FromString(resource.body)
    if listener.HasField("bind_to_port"):
        return resource
    listener.address.socket_address.address = "127.0.0.1"
    listener.address.socket_address.port_value = 0
    return Resource(resource.type_url, resource.name, resource.version, listener.SerializeToString())


async def _until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something in another process, by looking."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            if await reached():
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _serving(ads: Ads) -> AsyncGenerator[int]:
    async def stream(requests: AsyncIterator[bytes], _: object) -> AsyncGenerator[bytes]:
        async def read() -> None:
            async for request in requests:
                ads.receive(discovery_pb2.DiscoveryRequest.FromString(request))

        async with task_scope() as scope:
            scope.spawn(read(), name="requests")
            while True:
                yield await ads.outgoing.get()

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(stream)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {"StreamAggregatedResources": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def _bootstrap(port: int, secrets: Path) -> dict[str, Any]:
    """What a sidecar's bootstrap has of ADS and SDS, and what keeps Envoy from warning."""
    limit = {
        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3."
        "DownstreamConnectionsConfig",
        "max_active_downstream_connections": 10_000,
    }
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": limit}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    ads: dict[str, Any] = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    grpc_service = {"envoy_grpc": {"cluster_name": "xds-grpc"}}
    http2: dict[str, Any] = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }

    def cluster(name: str, address: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": name,
            "type": "STATIC",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
            },
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }

    known = [cluster("xds-grpc", address), cluster("sds-grpc", {"pipe": {"path": str(secrets)}})]
    return {
        "node": {"id": "sidecar~10.0.0.9~client.demo~demo.svc.cluster.local", "cluster": "client.demo"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [grpc_service],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "overload_manager": {"resource_monitors": [monitor]},
        "static_resources": {"clusters": known},
    }
