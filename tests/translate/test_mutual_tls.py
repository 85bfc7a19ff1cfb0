"""Two real Envoys, a client's and a server's, with mutual TLS between them or without."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientError
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from isthmus.config.accepted_tls import PeerAuthentications
from isthmus.config.durations import Duration
from isthmus.config.mesh import MeshConfig
from isthmus.model.resources import LISTENER, PUSH_ORDER, Resource
from isthmus.model.service import Protocol, ServiceKey
from isthmus.model.workload import InboundPort
from isthmus.translate.catalogue import Catalogue
from isthmus.translate.names import inbound_cluster
from isthmus.translate.wire import socket_address
from tests.translate.cases import NOBODY, peers
from tests.translate.fake_sds import credential
from tests.translate.fake_view import FakeView, endpoint, pod, proxy, service
from tests.translate.real_envoy import CLIENT, RealEnvoy, at, bound, running_envoy

SERVER = "spiffe://cluster.local/ns/demo/sa/server"
STRICT, DISABLE = peers("demo", "STRICT"), peers("demo", "DISABLE")
ECHO = ServiceKey("demo", "echo")
POD = "127.0.0.2"
"""The pod's address: its application listens at 127.0.0.1, on the same port."""


@asynccontextmanager
async def application() -> AsyncGenerator[int]:
    """Answers a request with who called, as its sidecar tells; a line that is no request in capitals."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if not line.startswith(b"GET"):
                writer.write(line.upper())
                continue
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            told = [line.partition(": ")[2] for line in head.split("\r\n") if "client-cert" in line.lower()]
            body = "".join(told).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def of_server(
    port: int, protocol: Protocol, accepted: PeerAuthentications, mesh: MeshConfig | None = None
) -> list[Resource]:
    """What the server's Envoy gets. Without iptables it listens at the pod's address, and calls its
    application by name.
    """
    view = FakeView()
    server = pod("server", POD, account="server", tls=True, app="server")
    view.pods[server.key] = server
    view.selecting[server.key] = [InboundPort(ECHO, 80, port, "port", protocol)]
    scopes = Catalogue(view, mesh or MeshConfig(), peers=accepted).scopes(proxy("server", POD))
    resources = [r for type_url in PUSH_ORDER for scope in scopes for r in scope.all(type_url)]
    found: list[Resource] = []
    for resource in resources:
        if resource.name == inbound_cluster(port):
            found.append(to_application(resource, port))
        elif resource.name == "virtualInbound":
            found.append(at(resource, POD, port))
        elif resource.type_url != LISTENER:
            found.append(resource)
    return found


def to_application(resource: Resource, port: int) -> Resource:
    """The inbound cluster, dialling the application where it is here."""
    cluster = cluster_pb2.Cluster.FromString(resource.body)
    cluster.type = cluster_pb2.Cluster.DiscoveryType.Value("STATIC")
    for field in ("lb_policy", "upstream_bind_config", "cleanup_interval"):
        cluster.ClearField(field)
    there = endpoint_components_pb2.Endpoint(address=socket_address("127.0.0.1", port))
    member = endpoint_components_pb2.LbEndpoint(endpoint=there)
    cluster.load_assignment.CopyFrom(
        endpoint_pb2.ClusterLoadAssignment(
            cluster_name=resource.name,
            endpoints=[endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=[member])],
        )
    )
    return Resource(resource.type_url, resource.name, "", cluster.SerializeToString())


def of_client(
    port: int, protocol: Protocol, accepted: PeerAuthentications = NOBODY, *, account: str = "server"
) -> list[Resource]:
    """What the client's Envoy gets, for a service whose one pod runs as `account`."""
    view = FakeView()
    client = pod("client", "10.0.0.9", tls=True)
    view.pods[client.key] = client
    server = pod("server", POD, account=account, tls=True, app="server")
    view.put(service("echo", (80, protocol), west="10.1.0.1"), endpoint(POD, port=port, behind=server))
    scopes = Catalogue(view, MeshConfig(), peers=accepted).scopes(proxy("client"))
    resources = [r for type_url in PUSH_ORDER for scope in scopes for r in scope.all(type_url)]
    return [bound(r) if r.name.endswith("_80") else r for r in resources if r.name != "virtualInbound"]


@dataclass(slots=True)
class Pair:
    """A client's Envoy that calls `echo`, a server's, and the server's port."""

    client: RealEnvoy
    server: RealEnvoy
    port: int
    protocol: Protocol

    async def now(self, accepted: PeerAuthentications) -> None:
        """The server accepts that from now on, and the client knows. Connections that were there before are
        ended with their next answer.
        """
        self.server.ads.put(of_server(self.port, self.protocol, accepted))
        self.client.ads.put(of_client(self.port, self.protocol, accepted))
        await self.server.settled()
        await self.client.settled()
        if self.protocol is not Protocol.TCP:
            await self.through_sidecar()

    async def through_sidecar(self) -> tuple[int, str]:
        """A request that its own application makes of the client's sidecar."""
        listener = "0.0.0.0_80" if self.protocol.is_http else "10.1.0.1_80"
        address = await self.client.address_of(listener)
        headers = {"host": "echo", "x-forwarded-client-cert": "URI=spiffe://forged"}
        async with self.client.session.get(f"http://{address}/", headers=headers) as response:
            return response.status, await response.text()

    async def plain(self) -> tuple[int, str]:
        """The same from somebody without a sidecar."""
        headers = {"x-forwarded-client-cert": "URI=spiffe://forged", "connection": "close"}
        async with self.client.session.get(f"http://{POD}:{self.port}/", headers=headers) as response:
            return response.status, await response.text()


@asynccontextmanager
async def pair(
    folder: Path, protocol: Protocol, account: str = "server", *, called: Protocol | None = None
) -> AsyncGenerator[Pair]:
    """`called` is what the server's own cluster declares, where that differs."""
    async with application() as port:
        for name in ("client", "server"):
            (folder / name).mkdir()
        async with (
            running_envoy(
                folder / "server", of_server(port, called or protocol, NOBODY), identity=SERVER
            ) as server,
            running_envoy(folder / "client", of_client(port, protocol, account=account)) as client,
        ):
            yield Pair(client, server, port, protocol)
            assert server.ads.refusals == client.ads.refusals == []


@pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.SNIFFED])
async def test_a_server_is_told_who_calls_and_accepts_what_its_policy_says(
    protocol: Protocol, tmp_path: Path
) -> None:
    async with pair(tmp_path, protocol) as mesh:
        status, caller = await mesh.through_sidecar()
        assert (status, caller.count("By=")) == (200, 1)
        assert caller.startswith(f"By={SERVER};Hash=")
        assert caller.endswith(f";URI={CLIENT}")
        assert await mesh.plain() == (200, "")
        assert "TLSv1.3: 1" in await mesh.server.text("/stats?filter=ssl.versions")

        await mesh.now(STRICT)
        assert await mesh.through_sidecar() == (status, caller)
        with pytest.raises(ClientError):
            await mesh.plain()

        await mesh.now(DISABLE)
        assert await mesh.through_sidecar() == (200, "")
        assert await mesh.plain() == (200, "")


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.SNIFFED])
async def test_bytes_that_are_no_http_go_by_mutual_tls_too(protocol: Protocol, tmp_path: Path) -> None:
    async with pair(tmp_path, protocol) as mesh:
        await mesh.now(STRICT)
        host, _, port = (await mesh.client.address_of("10.1.0.1_80")).rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        writer.close()
        await writer.wait_closed()
        stats = await mesh.server.text("/stats?filter=ssl.handshake")
        assert ": 0" not in stats, "it was TLS"


async def test_a_server_that_speaks_first_reaches_a_client_without_a_sidecar(tmp_path: Path) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\n")
        await writer.drain()
        writer.close()

    quick = MeshConfig(protocol_detection_timeout=Duration(milliseconds=200))
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        resources = of_server(port, Protocol.TCP, NOBODY, quick)
        async with running_envoy(tmp_path, resources, identity=SERVER):
            reader, writer = await asyncio.open_connection(POD, port)
            assert await reader.readline() == b"220 ready\n"
            writer.close()
            await writer.wait_closed()


async def test_http2_goes_by_mutual_tls_as_http2(tmp_path: Path) -> None:
    async with pair(tmp_path, Protocol.GRPC, called=Protocol.HTTP) as mesh:
        status, caller = await mesh.through_sidecar()
        assert (status, caller.count("By=")) == (200, 1)
        stats = await mesh.server.text("/stats?filter=inbound_.*downstream_cx_http2_total")
        assert ": 0" not in stats


async def test_a_client_refuses_a_server_that_runs_as_another_account(tmp_path: Path) -> None:
    async with pair(tmp_path, Protocol.HTTP, account="payments") as mesh:
        status, _ = await mesh.through_sidecar()
        assert status == 503
        refused = await mesh.client.text("/stats?filter=ssl.fail_verify_san&usedonly")
        assert "outbound|80||echo.demo.svc.cluster.local" in refused


async def test_a_strict_server_refuses_who_shows_no_identity_of_the_mesh(tmp_path: Path) -> None:
    async with pair(tmp_path, Protocol.HTTP) as mesh:
        await mesh.now(STRICT)

        async def call(uri: str | None, alpn: Sequence[str]) -> bytes:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(alpn)
            if uri is not None:
                held = credential(uri)
                file = tmp_path / "pair.pem"
                file.write_bytes(held.chain + held.key)
                context.load_cert_chain(file)
            try:
                reader, writer = await asyncio.open_connection(POD, mesh.port, ssl=context)
            except OSError:
                return b""
            try:
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                return await reader.read(12)
            except OSError:
                return b""
            finally:
                writer.transport.abort()

        assert await call(CLIENT, ["istio"]) == b"HTTP/1.1 426"  # HTTP/1.0 is not spoken, but TLS was.
        assert await call(CLIENT, ["http/1.1"]) == b"HTTP/1.1 426"
        assert await call("spiffe://elsewhere/ns/demo/sa/default", ["istio"]) == b""
        assert await call(None, ["istio"]) == b""
