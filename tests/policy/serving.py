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
from grpc import aio

from isthmus.config.policy_context import context_of
from isthmus.lib.address import HostPort
from isthmus.lib.binaries import find_envoy
from isthmus.policy.limits import Limits
from isthmus.policy.quotas import MemoryQuotas
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.server import ServerLimits, serving_policy
from isthmus.policy.tally import Tally
from tests.policy.building import ECHO, checks

LOOPBACK = HostPort("127.0.0.1", 0)
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
    """A running Envoy in front of the application; every request asks the policy server first."""

    url: str
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
    """Envoy with ext_authz as `translate/` is to configure it: `context_of` beside the filter."""
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
            while (url := await _listener(session, admin)) is None:
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
            patience.reschedule(None)
            yield AskingEnvoy(url, session)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _listener(session: aiohttp.ClientSession, admin: Path) -> str | None:
    """Where it listens, None while it does not."""
    if not admin.exists() or not admin.read_text():
        return None
    async with session.get(f"http://{admin.read_text()}/listeners?format=json") as response:
        found = json.loads(await response.text()).get("listener_statuses", [])
    return f"http://127.0.0.1:{found[0]['local_address']['socket_address']['port_value']}" if found else None


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
    per_route = {
        "@type": f"{_EXTENSIONS}filters.http.ext_authz.v3.ExtAuthzPerRoute",
        "check_settings": {"context_extensions": context_of(ECHO)},
    }
    authz = {
        "@type": f"{_EXTENSIONS}filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "policy"}, "timeout": "0.5s"},
        "failure_mode_allow": failure_mode_allow,
        "include_tls_session": True,
    }
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
        "typed_per_filter_config": {"envoy.filters.http.ext_authz": per_route},
    }
    router = {"@type": f"{_EXTENSIONS}filters.http.router.v3.Router"}
    manager = {
        "@type": f"{_EXTENSIONS}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"name": "in", "virtual_hosts": [host]},
        "http_filters": [
            {"name": "envoy.filters.http.ext_authz", "typed_config": authz},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {
        "admin": {"address": address(0)},
        "static_resources": {
            "listeners": [{"name": "in", "address": address(0), "filter_chains": [chain]}],
            "clusters": [
                cluster("app", app_port),
                cluster("policy", policy_port, typed_extension_protocol_options=http2),
            ],
        },
    }
