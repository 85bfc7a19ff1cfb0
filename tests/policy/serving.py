"""The policy server over loopback gRPC, and a real Envoy that asks it."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from google.protobuf.json_format import MessageToDict
from grpc import aio

from isthmus.config.mesh import MeshConfig
from isthmus.lib.address import HostPort
from isthmus.lib.binaries import find_envoy
from isthmus.policy.limits import Limits
from isthmus.policy.quotas import MemoryQuotas
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.server import ServerLimits, serving_policy
from isthmus.policy.tally import Tally
from isthmus.translate.names import outbound_cluster
from isthmus.translate.policy_checks import PolicyCheck, http_checks, tcp_checks
from tests.policy.building import ECHO, checks

LOOPBACK = HostPort("127.0.0.1", 0)
ECHO_CHECK = PolicyCheck(
    cluster=ECHO.cluster,
    namespace=ECHO.namespace,
    workload=ECHO.workload,
    account=ECHO.account,
    labels=tuple(ECHO.labels.items()),
    services=((8080, ECHO.service),),
    connections=True,
)
_EXTENSIONS = "type.googleapis.com/envoy.extensions."
_PATIENCE = 20.0


@asynccontextmanager
async def serving(book: Rulebook, address: HostPort = LOOPBACK) -> AsyncGenerator[int]:
    """Both services over a rulebook; yields the port."""
    quotas = MemoryQuotas()
    methods = {
        **checks(book, quotas=quotas).methods(),
        **Limits(book, quotas=quotas, tally=Tally()).methods(),
    }
    async with serving_policy(address, methods, ServerLimits(grace=0.0)) as port:
        yield port


async def ask(port: int, method: str, message: bytes, *, timeout: float = 5.0) -> bytes:
    """One call."""
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        return await call(message, timeout=timeout)


@asynccontextmanager
async def serving_echo() -> AsyncGenerator[int]:
    """An application that tells the headers that it got; yields the port."""

    async def echo(request: web.Request) -> web.Response:
        return web.json_response(
            {name.lower(): ",".join(request.headers.getall(name)) for name in request.headers}
        )

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: dict[str, str]
    text: str


@dataclass(frozen=True, slots=True)
class AskingEnvoy:
    """A running Envoy in front of the application; every request asks the policy server first.

    `tcp_port` takes connections as they are, and asks about each.
    """

    url: str
    tcp_port: int
    session: aiohttp.ClientSession

    async def get(self, path: str = "/", **headers: str) -> Answered:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.get(self.url + path, headers=named) as response:
            return Answered(
                response.status, {k.lower(): v for k, v in response.headers.items()}, await response.text()
            )

    async def until_denied_by(self, rule: str) -> None:
        """Ask until that rule answers: Envoy connects again in its own time."""
        while True:
            if (await self.get()).headers.get("x-isthmus-policy") == rule:
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running_envoy(
    folder: Path, *, policy_port: int, app_port: int, failure_mode_allow: bool
) -> AsyncGenerator[AskingEnvoy]:
    """Envoy with the filters that `translate/` configures."""
    folder.mkdir()
    config, admin, log = folder / "envoy.json", folder / "admin", folder / "envoy.log"
    config.write_text(json.dumps(_bootstrap(policy_port, app_port, failure_mode_allow)))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(str(find_envoy()), "-c", str(config), "--admin-address-path", str(admin)),
            *("--disable-hot-restart", "--concurrency", "1", "-l", "error"),
            stdout=output,
            stderr=output,
        )
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(_PATIENCE) as patience:
            while len(ports := await _listeners(session, admin)) < 2:
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
            patience.reschedule(None)
            yield AskingEnvoy(f"http://127.0.0.1:{ports['http']}", ports["tcp"], session)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _listeners(session: aiohttp.ClientSession, admin: Path) -> dict[str, int]:
    """The ports of those that listen, by name."""
    if not admin.exists() or not admin.read_text():
        return {}
    async with session.get(f"http://{admin.read_text()}/listeners?format=json") as response:
        found = json.loads(await response.text()).get("listener_statuses", [])
    return {one["name"]: one["local_address"]["socket_address"]["port_value"] for one in found}


def _bootstrap(policy_port: int, app_port: int, failure_mode_allow: bool) -> dict[str, Any]:
    def address(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def cluster(name: str, port: int, **more: Any) -> dict[str, Any]:
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]
        return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}, **more}

    http2: dict[str, Any] = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{_EXTENSIONS}upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    mesh = MeshConfig(policy_check_fail_open=failure_mode_allow)
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
    }
    router = {"@type": f"{_EXTENSIONS}filters.http.router.v3.Router"}
    manager = {
        "@type": f"{_EXTENSIONS}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"name": "in", "virtual_hosts": [host]},
        "http_filters": [
            *map(MessageToDict, http_checks(ECHO_CHECK, 8080, mesh)),
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    }
    proxy = {
        "@type": f"{_EXTENSIONS}filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "in",
        "cluster": "app",
    }
    http = [{"name": "http", "typed_config": manager}]
    tcp = [
        *map(MessageToDict, tcp_checks(ECHO_CHECK, 8080, mesh)),
        {"name": "tcp", "typed_config": proxy},
    ]
    return {
        "admin": {"address": address(0)},
        "static_resources": {
            "listeners": [
                {"name": name, "address": address(0), "filter_chains": [{"filters": filters}]}
                for name, filters in (("http", http), ("tcp", tcp))
            ],
            "clusters": [
                cluster("app", app_port),
                cluster(
                    outbound_cluster(*mesh.policy_server), policy_port, typed_extension_protocol_options=http2
                ),
            ],
        },
    }
