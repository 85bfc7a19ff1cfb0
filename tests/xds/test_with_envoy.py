"""A real Envoy against the hub, both forms: what only it can tell is whether it ever waits for more."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf.message import Message

from isthmus.lib.binaries import find_envoy
from isthmus.model.resources import CLUSTER, ENDPOINT, Resource
from isthmus.xds.ads import serving_ads
from isthmus.xds.hub import Hub
from isthmus.xds.limits import Limits
from tests.xds.fakes import FakeProvider, FakeScope
from tests.xds.tls import Authority

_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def made(type_url: str, name: str, message: Message) -> Resource:
    body = message.SerializeToString(deterministic=True)
    return Resource(type_url, name, str(hash(body)), body)


def cluster(name: str, seconds: int) -> Resource:
    message = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
    source = message.eds_cluster_config.eds_config
    source.ads.CopyFrom(config_source_pb2.AggregatedConfigSource())
    source.resource_api_version = config_source_pb2.V3
    source.initial_fetch_timeout.seconds = 3600  # Longer than the test, so that a fault shows.
    message.connect_timeout.seconds = seconds
    return made(CLUSTER, name, message)


def endpoints(name: str, port: int) -> Resource:
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    address = message.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    return made(ENDPOINT, name, message)


def upstream_tls(authority: Authority) -> dict[str, Any]:
    """Mutual TLS towards `localhost`, as a proxy's bootstrap has it."""
    pair = authority.client()
    inline = {
        name: {"inline_string": value.decode()} for name, value in (("chain", pair.chain), ("key", pair.key))
    }
    san = {"san_type": "DNS", "matcher": {"exact": "localhost"}}
    context = {
        "@type": f"type.googleapis.com/{_TLS}",
        "sni": "localhost",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificates": [{"certificate_chain": inline["chain"], "private_key": inline["key"]}],
            "validation_context": {
                "trusted_ca": {"inline_string": authority.roots.decode()},
                "match_typed_subject_alt_names": [san],
            },
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def bootstrap(port: int, form: str, folder: Path, authority: Authority | None) -> dict[str, Any]:
    ads = {
        "api_type": form,
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "node": {"id": "sidecar~127.0.0.1~p.ns~ns.svc.cluster.local", "cluster": "p.ns"},
        "admin": {"address": {"pipe": {"path": str(folder / "admin")}}},
        "dynamic_resources": {"ads_config": ads, "cds_config": {"ads": {}, "resource_api_version": "V3"}},
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "connect_timeout": "1s",
                    **({"transport_socket": upstream_tls(authority)} if authority else {}),
                    "typed_extension_protocol_options": {
                        _HTTP: {
                            "@type": f"type.googleapis.com/{_HTTP}",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                }
            ]
        },
    }


class Envoy:
    """A running Envoy's admin interface."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def until(self, holds: Callable[[dict[str, float], dict[str, str]], bool]) -> None:
        """Wait until this holds of active clusters (name → connect timeout) and endpoints (cluster →
        address).
        """
        seen: object = None
        try:
            async with asyncio.timeout(15):
                while True:
                    try:
                        active, addresses = await self._state()
                    except aiohttp.ClientConnectionError:
                        active, addresses = {}, {}
                    seen = active, addresses
                    if holds(active, addresses):
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"Envoy stays at {seen}") from None

    async def _state(self) -> tuple[dict[str, float], dict[str, str]]:
        async with self._session.get("http://envoy/config_dump?resource=dynamic_active_clusters") as answer:
            dump: dict[str, Any] = await answer.json(content_type=None)
        async with self._session.get("http://envoy/clusters?format=json") as answer:
            clusters: dict[str, Any] = await answer.json(content_type=None)
        active = {
            one["cluster"]["name"]: float(one["cluster"]["connect_timeout"].rstrip("s"))
            for one in dump.get("configs", [])
        }
        addresses = {
            one["name"]: str(one["host_statuses"][0]["address"]["socket_address"]["port_value"])
            for one in clusters.get("cluster_statuses", [])
            if one.get("host_statuses")
        }
        return active, addresses


@asynccontextmanager
async def running_envoy(
    port: int, form: str, folder: Path, authority: Authority | None
) -> AsyncGenerator[Envoy]:
    config = folder / "bootstrap.json"
    config.write_text(json.dumps(bootstrap(port, form, folder, authority)))
    process = await asyncio.create_subprocess_exec(
        *(str(find_envoy()), "-c", str(config), "--log-level", "warn", "--concurrency", "1"),
        *("--use-dynamic-base-id", "--log-path", str(folder / "log")),
    )
    try:
        connector = aiohttp.UnixConnector(str(folder / "admin"))
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Envoy(session)
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("form", ["GRPC", "DELTA_GRPC"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "mutual TLS"])
async def test_clusters_warm_whatever_of_them_changed(form: str, secure: bool, tmp_path: Path) -> None:
    authority = Authority() if secure else None
    context = authority.server_context(tmp_path) if authority else None
    if context is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    scope = FakeScope("mesh", cluster("a", 1), cluster("b", 1), endpoints("a", 1001), endpoints("b", 1002))
    async with AsyncExitStack() as stack:
        hub = Hub(FakeProvider(scope))
        async with serving_ads("127.0.0.1:0", hub, Limits(drain=0), ssl_context=context) as port:
            envoy = await stack.enter_async_context(running_envoy(port, form, tmp_path, authority))
            await envoy.until(lambda active, hosts: active.keys() == {"a", "b"} == hosts.keys() - {"xds"})
            hub.publish([scope.put(endpoints("a", 1003))])
            await envoy.until(lambda _, hosts: hosts["a"] == "1003")
            hub.publish([scope.put(cluster("a", 2))])
            await envoy.until(lambda active, hosts: active["a"] == 2 and hosts["a"] == "1003")
            hub.publish([scope.put(cluster("c", 1), endpoints("c", 1004)), scope.drop(CLUSTER, "b")])
            await envoy.until(lambda active, hosts: active.keys() == {"a", "c"} and hosts["c"] == "1004")
            assert accepted(hub)
        scope.put(cluster("a", 3))
        again = Hub(FakeProvider(scope))
        async with serving_ads(f"127.0.0.1:{port}", again, Limits(drain=0), ssl_context=context):
            await envoy.until(lambda active, hosts: active["a"] == 3 and hosts["a"] == "1003")
            assert accepted(again)


def accepted(hub: Hub) -> bool:
    return not any(one.nack for client in hub.clients() for one in client.types)
