"""A mesh of two clusters whose control plane is attacked: `isthmus pilot` as a process, asked over TLS.

However a scene ends, everything that the control plane said is searched for what it must not say.
"""

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import yaml
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from grpc import aio

from isthmus.ca.signer import new_key
from isthmus.kube.kinds import CONFIG_MAP, POD, SECRET
from isthmus.model.resources import CLUSTER, ENDPOINT
from isthmus.model.service import ClusterId
from tests.ca.clusters import EAST, SERVICE_ACCOUNT, WEST, Clusters
from tests.ca.making import key_pem
from tests.scenarios.mesh import ECHO, Member, Mesh, Pilot, ads, eventually, running_pilot, two_clusters
from tests.support.ca_client import Issued, make_csr, request_certificate

NAME = "istio-pilot.istio-system.svc"
ECHO_URI = "spiffe://cluster.local/ns/demo/sa/echo"
Call = aio.StreamStreamCall[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Pair:
    """A workload's certificate chain and key, PEM."""

    chain: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What a proxy says of itself."""

    pod: str = "echo-1"
    namespace: str = "demo"
    cluster: str = "west"
    address: str = "10.1.0.1"
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    def request(self, type_url: str = CLUSTER, *names: str) -> DiscoveryRequest:
        request = DiscoveryRequest(type_url=type_url, resource_names=names)
        request.node.id = (
            f"sidecar~{self.address}~{self.pod}.{self.namespace}~{self.namespace}.svc.cluster.local"
        )
        for name, value in {"CLUSTER_ID": self.cluster, **self.metadata}.items():
            request.node.metadata[name] = value
        return request


@dataclass(slots=True)
class Siege:
    """The stage. `hidden` is what must never be said; `said` what strangers were told."""

    mesh: Mesh
    pilot: Pilot
    port: int
    roots: bytes
    hidden: set[str]
    said: list[str] = field(default_factory=list[str])

    async def token(self, cluster: ClusterId = WEST, account: str = "echo", **more: Any) -> str:
        clients = {WEST: self.mesh.west.api, EAST: self.mesh.east.api}
        token = await Clusters(clients).token(cluster, account, **more)
        return self.hide(token)

    def hide(self, token: str) -> str:
        signature = token.rpartition(".")[2]
        self.hidden.update((token, signature) if signature else (token,))
        return token

    @asynccontextmanager
    async def channel(self, pair: Pair | None = None) -> AsyncGenerator[aio.Channel]:
        key, chain = (pair.key, pair.chain) if pair else (None, None)
        credentials = grpc.ssl_channel_credentials(self.roots, key, chain)
        options = (("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1))
        async with aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options) as channel:
            yield channel

    async def certificate(
        self, token: str, csr: str = "", cluster: ClusterId = WEST, seconds: int = 0
    ) -> Issued:
        async with self.channel() as channel:
            return await request_certificate(
                channel,
                csr or make_csr(new_key(), ECHO_URI),
                seconds=seconds,
                token=token,
                cluster=cluster,
                timeout=60,
            )

    async def denial(self, token: str, csr: str = "", **more: Any) -> tuple[grpc.StatusCode, str]:
        """How the request for a certificate ended, which must not have been answered with one."""
        try:
            await self.certificate(token, csr, **more)
        except aio.AioRpcError as error:
            self.said.append(details := error.details() or "")
            return error.code(), details
        raise AssertionError("a certificate was issued")

    async def pair(self, cluster: ClusterId = WEST, account: str = "echo") -> Pair:
        key = new_key()
        csr = make_csr(key, f"spiffe://cluster.local/ns/demo/sa/{account}")
        issued = await self.certificate(await self.token(cluster, account), csr, cluster)
        self.hidden.add(_secret_part(key_pem(key).decode()))
        return Pair("".join(issued.chain).encode(), key_pem(key))

    @asynccontextmanager
    async def stream(
        self, claim: Claim | None, *, token: str = "", named: str = "west", pair: Pair | None = None
    ) -> AsyncGenerator[Call]:
        """An ADS stream on which the first request is sent, if there is a claim to be sent."""
        metadata = [("clusterid", named)] if token and named else []
        if token:
            metadata.append(("authorization", f"Bearer {token}"))
        async with self.channel(pair) as channel:
            call = ads(channel)(metadata=aio.Metadata(*metadata))
            if claim is not None:
                with contextlib.suppress(aio.AioRpcError):
                    await call.write(claim.request().SerializeToString())
            yield call
            call.cancel()

    async def served(self, claim: Claim, **proof: Any) -> None:
        """The proxy must be served."""
        async with self.stream(claim, **proof) as call:
            assert await hear(call)

    async def refused(self, claim: Claim | None, **proof: Any) -> tuple[grpc.StatusCode, str]:
        """How the stream ended, which must not have been served.

        Without a claim nothing is sent: gRPC's client says INTERNAL where it writes to a refused call.
        """
        async with self.stream(claim, **proof) as call, asyncio.timeout(60):
            with contextlib.suppress(aio.AioRpcError):
                assert await call.read() is aio.EOF
            self.said.append(details := await call.details() or "")
            return await call.code(), details

    async def logged(self, event: str, *words: str, since: int = 0, times: int = 1) -> dict[str, Any]:
        """The latest of the log lines of that event with those words, after the first `since` lines.

        There must be so many of them, and no more.
        """

        def look() -> list[dict[str, Any]]:
            found = [
                line
                for line in self.pilot.log[since:]
                if line["event"] == event and all(word in json.dumps(line) for word in words)
            ]
            return found if len(found) >= times else []

        found = await eventually(look)
        assert len(found) == times, found
        return found[-1]

    async def search(self) -> list[str]:
        """What was said and must not have been; nothing, if all is well."""
        texts = [json.dumps(self.pilot.log), *self.said]
        pages = [*await self.pilot.page("/debug"), "/debug/config_dump?proxyID=echo-1.demo"]
        assert len(pages) > 5
        texts += [json.dumps(await self.pilot.page(page)) for page in pages]
        texts += [str(await self.pilot.page(path)) for path in ("/metrics", "/ready")]
        secrets = (await self.mesh.west.api.list(SECRET, "istio-system")).items
        values = [value for one in secrets for value in one.data.values()]
        hidden = self.hidden | {secret for value in values for secret in _secrets_in(value)}
        assert len(hidden) > 3, "there is something to look for"
        text = "\n".join(texts)
        return [secret[:12] + "…" for secret in hidden if secret in text]


async def hear(call: Call) -> DiscoveryResponse:
    """The next response."""
    async with asyncio.timeout(60):
        data = await call.read()
    assert isinstance(data, bytes), f"the stream ended: {await call.code()} {await call.details()}"
    return DiscoveryResponse.FromString(data)


def ask_endpoints(nonce: str = "") -> bytes:
    return DiscoveryRequest(
        type_url=ENDPOINT, resource_names=[ECHO], response_nonce=nonce
    ).SerializeToString()


def _secret_part(pem: str) -> str:
    """A line of a key in PEM that is all its own."""
    return pem.splitlines()[2]


def _secrets_in(value: bytes) -> list[str]:
    """Keys, and what a kubeconfig hides, as PEM, base64 and text."""
    text = value.decode()
    found = [_secret_part(block) for block in re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]+-", text)]
    if "kind: Config" in text or '"kind":"Config"' in text:
        for entry in yaml.safe_load(text)["users"]:
            key = entry["user"].get("client-key-data")
            if key:
                found += [key[40:120], _secret_part(base64.b64decode(key).decode())]
    return found


async def _fill(member: Member, prefix: str) -> None:
    """Service echo, and Pods echo-1 and other-1 of accounts echo and other."""
    await member.serve_echo(f"{prefix}.1")
    for number, account in enumerate(("echo", "other"), 1):
        await member.api.create(SERVICE_ACCOUNT, {"metadata": {"name": account}}, "demo")
        await add_pod(member, f"{account}-1", account, f"{prefix}.{number}")


async def add_pod(member: Member, name: str, account: str, address: str) -> None:
    spec = {"serviceAccountName": account, "containers": [{"name": "c", "image": "echo"}]}
    await member.api.create(POD, {"metadata": {"name": name}, "spec": spec}, "demo")
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    path = f"{POD.path('demo', name)}/status"
    await member.api.request("PATCH", path, body=status, content_type="application/merge-patch+json")


@asynccontextmanager
async def besieged(folder: Path) -> AsyncGenerator[Siege]:
    """Clusters west, where the control plane runs, and east, both with Pods."""
    async with two_clusters() as mesh:
        await _fill(mesh.west, "10.1.0")
        await _fill(mesh.east, "10.2.0")
        await mesh.join_east()
        async with running_pilot(mesh.west.server, folder, options=("--log-level", "debug")) as pilot:
            await pilot.xds_port()
            (port,) = next(line for line in pilot.log if "xds_tls_ports" in line)["xds_tls_ports"]

            async def roots() -> str:
                found = await mesh.east.api.list(CONFIG_MAP, "demo")
                return next((one.data.get("root-cert.pem", "") for one in found.items if one.data), "")

            siege = Siege(mesh, pilot, port, (await eventually(roots)).encode(), set())
            yield siege
            assert await siege.search() == []
            assert [line for line in pilot.log if "Traceback" in json.dumps(line)] == []
