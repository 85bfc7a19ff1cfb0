"""Two clusters' API servers in this process, the control plane as one of its own, and a proxy of sorts."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import aiohttp
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from grpc import aio
from prometheus_client.parser import text_string_to_metric_families

from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import untyped
from isthmus.lab.apiserver.server import RunningServer, running_api_server
from isthmus.model.resources import ENDPOINT

SERVICES = untyped("", "v1", "services", "Service")
SLICES = untyped("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
SECRETS = untyped("", "v1", "secrets", "Secret")
NAMESPACES = untyped("", "v1", "namespaces", "Namespace", namespaced=False)
ECHO = "outbound|80||echo.demo.svc.cluster.local"
DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class Member:
    """One cluster: its server and an administrator's client."""

    server: RunningServer
    api: Client

    async def serve_echo(self, *addresses: str, port_name: str = "http") -> None:
        """Namespace demo with Service echo and a slice of these addresses."""
        await self.api.create(NAMESPACES, {"metadata": {"name": "demo"}})
        ports = [{"name": port_name, "port": 80, "targetPort": 8080}]
        service = {"metadata": {"name": "echo"}, "spec": {"ports": ports}}
        await self.api.create(SERVICES, service, "demo")
        await self.api.create(SLICES, echo_slice("echo-1", *addresses, port_name=port_name), "demo")

    async def move_echo(self, *addresses: str) -> None:
        """Replace the addresses behind echo."""
        body = echo_slice("echo-1", *addresses)
        await self.api.patch(SLICES, "echo-1", {"endpoints": body["endpoints"]}, "demo")


def echo_slice(name: str, *addresses: str, port_name: str = "http") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "echo"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [{"name": port_name, "port": 8080, "protocol": "TCP"}],
    }


@dataclass(frozen=True, slots=True)
class Mesh:
    west: Member
    east: Member

    async def join(self, name: str, kubeconfig: bytes, *, secret: str = "") -> None:
        """Register a cluster as the guide does."""
        body = {
            "metadata": {"name": secret or name, "labels": {"istio/multiCluster": "true"}},
            "data": {name: base64.b64encode(kubeconfig).decode()},
        }
        await self.west.api.create(SECRETS, body, "istio-system")

    async def join_east(self) -> None:
        await self.join("east", self.east.server.kubeconfig("east"))

    async def leave(self, secret: str) -> None:
        await self.west.api.delete(SECRETS, secret, "istio-system")


@asynccontextmanager
async def two_clusters() -> AsyncGenerator[Mesh]:
    async with (
        running_api_server(name="west") as west,
        running_api_server(name="east", service_cidr=IPv4Network("10.97.0.0/16")) as east,
        running_client(west.access()) as west_api,
        running_client(east.access()) as east_api,
    ):
        await west_api.create(NAMESPACES, {"metadata": {"name": "istio-system"}})
        yield Mesh(Member(west, west_api), Member(east, east_api))


@dataclass(frozen=True, slots=True)
class Pilot:
    """`isthmus pilot` as a process; `log` grows as it speaks."""

    process: asyncio.subprocess.Process
    http_port: int
    log: list[dict[str, Any]]

    async def page(self, path: str) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.http_port}{path}") as answer,
        ):
            if answer.content_type == "application/json":
                return await answer.json()
            return answer.status, await answer.text()

    async def measures(self, name: str, **labels: str) -> float | None:
        """What Prometheus reads as this sample; None where there is none that has (at least) these labels."""
        _, text = await self.page("/metrics")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None

    async def xds_port(self) -> int:
        """The port, once it serves."""
        line = await eventually(lambda: next((x for x in self.log if "xds_port" in x), None))
        return int(line["xds_port"])

    async def cluster(self, name: str, wanted: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
        """The row of `/debug/clusterz` with that name, once it is as wanted."""

        async def look() -> Mapping[str, Any] | None:
            rows = await self.page("/debug/clusterz")
            return next((row for row in rows if row["id"] == name and wanted(row)), None)

        return await eventually(look)


async def eventually(look: Callable[[], Any]) -> Any:
    """What `look` answers as soon as it is true; fails after the deadline."""
    async with asyncio.timeout(DEADLINE):
        while True:
            found = look()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running_pilot(
    west: RunningServer | Path, folder: Path, *, through: Sequence[str] = (), options: Sequence[str] = ()
) -> AsyncGenerator[Pilot]:
    """The control plane in west (a server, or a kubeconfig), on free ports, with further options.

    `through` is a module, with its first arguments, that runs another as it is told.
    """
    if isinstance(west, Path):
        kubeconfig = west
    else:
        kubeconfig = folder / "west.kubeconfig"
        kubeconfig.write_bytes(west.kubeconfig("west"))
    fixed = ("--kubeconfig", str(kubeconfig), "--cluster-id", "west", "--xds-address", "127.0.0.1:0")
    fixed += ("--xds-tls-address", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            *through,
            "isthmus.cli.main",
            "pilot",
            *fixed,
            "--http-address",
            "127.0.0.1:0",
            *options,
        ),
        stderr=asyncio.subprocess.PIPE,
    )
    log: list[dict[str, Any]] = []
    assert process.stderr is not None
    reading = asyncio.create_task(_read_log(process.stderr, log))
    try:
        line = await eventually(lambda: next((x for x in log if x["event"] == "pages are served"), None))
        yield Pilot(process, int(line["ports"][0]), log)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reading


async def _read_log(stream: asyncio.StreamReader, log: list[dict[str, Any]]) -> None:
    while line := await stream.readline():
        log.append(json.loads(line) if line.startswith(b"{") else {"event": line.decode()})


class Proxy:
    """A proxy that asks for the endpoints of one cluster, in the state of the world, and accepts them all."""

    def __init__(self, call: "aio.StreamStreamCall[bytes, bytes]", cluster: str) -> None:
        self._call = call
        self._request = DiscoveryRequest(type_url=ENDPOINT, resource_names=[cluster])
        self.responses = 0

    async def start(self, node_id: str, cluster_id: str) -> None:
        self._request.node.id = node_id
        self._request.node.metadata["CLUSTER_ID"] = cluster_id
        await self._call.write(self._request.SerializeToString())

    async def addresses(self) -> list[str]:
        """The addresses in the next response."""
        return sorted(one.endpoint.address.socket_address.address for one in await self.members())

    async def members(self) -> list[LbEndpoint]:
        """The endpoints in the next response."""
        message = await self._call.read()
        assert isinstance(message, bytes), "the stream ended"
        response = DiscoveryResponse.FromString(message)
        self.responses += 1
        self._request.version_info = response.version_info
        self._request.response_nonce = response.nonce
        await self._call.write(self._request.SerializeToString())
        (resource,) = response.resources
        assignment = ClusterLoadAssignment.FromString(resource.value)
        return [one for locality in assignment.endpoints for one in locality.lb_endpoints]

    async def until(self, *wanted: str) -> None:
        """Read until the addresses are exactly these."""
        seen: Sequence[str] = ()
        try:
            async with asyncio.timeout(DEADLINE):
                while (seen := await self.addresses()) != sorted(wanted):
                    pass
        except TimeoutError:
            raise AssertionError(f"last seen {seen}, wanted {sorted(wanted)}") from None


def ads(channel: aio.Channel) -> "aio.StreamStreamMultiCallable[bytes, bytes]":
    """The method for the state of the world, with bytes for messages."""
    return channel.stream_stream(
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
    )


@asynccontextmanager
async def proxy_of(pilot: Pilot, *, pod: str = "client", cluster: str = ECHO) -> AsyncGenerator[Proxy]:
    async with aio.insecure_channel(
        f"127.0.0.1:{await pilot.xds_port()}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        call = ads(channel)()
        proxy = Proxy(call, cluster)
        await proxy.start(f"sidecar~10.0.0.9~{pod}.demo~demo.svc.cluster.local", "west")
        yield proxy
        call.cancel()
