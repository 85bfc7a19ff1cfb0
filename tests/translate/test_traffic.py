import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from isthmus.config.mesh import MeshConfig, OutboundMode, OutboundTrafficPolicy
from isthmus.model.resources import LISTENER, PUSH_ORDER, Resource
from isthmus.model.service import Protocol
from isthmus.model.workload import Endpoint, Health
from isthmus.translate.catalogue import Catalogue
from tests.translate.fake_view import FakeView, endpoint, proxy, service
from tests.translate.real_envoy import RealEnvoy, bound, running_envoy

REGISTRY_ONLY = MeshConfig(outbound_traffic_policy=OutboundTrafficPolicy(mode=OutboundMode.REGISTRY_ONLY))


@asynccontextmanager
async def shouting() -> AsyncGenerator[int]:
    """A server on loopback that is no HTTP server: it gives each line back in capitals."""

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def answering(name: str) -> AsyncGenerator[int]:
    """A server on loopback that answers every request with its name."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=name)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def configuration(
    *endpoints: Endpoint, protocol: Protocol = Protocol.HTTP, same_zone: bool = False
) -> list[Resource]:
    """The service `echo` behind the given endpoints, its listener bound to a port that a test can call."""
    view = FakeView()
    echo = replace(service("echo", (80, protocol), west="10.1.0.1"), same_zone=same_zone)
    view.put(echo, *endpoints)
    scopes = Catalogue(view, REGISTRY_ONLY).scopes(proxy("client"))
    resources = [r for type_url in PUSH_ORDER for scope in scopes for r in scope.all(type_url)]
    return [
        bound(r) if r.type_url == LISTENER and r.name.endswith("_80") else r
        for r in resources
        if r.name != "virtualInbound"
    ]


async def call(
    envoy: RealEnvoy, host: str, times: int = 1, listener: str = "0.0.0.0_80"
) -> list[tuple[int, str]]:
    """Statuses and bodies of requests for that host."""
    address = await envoy.address_of(listener)
    answers: list[tuple[int, str]] = []
    for _ in range(times):
        async with envoy.session.post(f"http://{address}/", headers={"Host": host}) as response:
            answers.append((response.status, await response.text()))
    return answers


@asynccontextmanager
async def hanging_up() -> AsyncGenerator[int]:
    """A server on 127.0.0.2 that reads a request and closes the connection without an answer."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.2", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_every_name_of_a_service_reaches_it_and_no_other_name_does(tmp_path: Path) -> None:
    async with (
        answering("a") as port,
        running_envoy(tmp_path, configuration(endpoint("127.0.0.1", port=port))) as envoy,
    ):
        for host in ("echo", "echo.demo", "echo.demo.svc", "echo.demo.svc.cluster.local:80", "10.1.0.1"):
            assert await call(envoy, host) == [(200, "a")], host
        assert [status for status, _ in await call(envoy, "elsewhere.example")] == [502]


async def test_an_endpoint_that_died_costs_no_request(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        alive = await stack.enter_async_context(answering("alive"))
        async with answering("dying") as dying:
            endpoints = [endpoint("127.0.0.1", port=alive), endpoint("127.0.0.1", port=dying)]
            envoy = await stack.enter_async_context(running_envoy(tmp_path, configuration(*endpoints)))
            assert {body for _, body in await call(envoy, "echo", 30)} == {"alive", "dying"}
        assert await call(envoy, "echo", 30) == [(200, "alive")] * 30


async def test_another_zone_serves_only_when_the_own_one_cannot_and_no_request_is_lost(
    tmp_path: Path,
) -> None:
    """Kubernetes: PreferSameZone. The client is in no zone, as one of the endpoints is."""
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(answering("far"))
        async with answering("near") as near:
            endpoints = endpoint("127.0.0.1", port=near), endpoint("127.0.0.1", port=far, zone="z2")
            resources = configuration(*endpoints, same_zone=True)
            envoy = await stack.enter_async_context(running_envoy(tmp_path, resources))
            assert await call(envoy, "echo", 20) == [(200, "near")] * 20
        assert await call(envoy, "echo", 20) == [(200, "far")] * 20


async def test_a_draining_endpoint_gets_nothing_new_unless_it_is_the_last(tmp_path: Path) -> None:
    async with answering("ready") as ready, answering("draining") as draining:
        leaving = endpoint("127.0.0.1", port=draining, health=Health.DRAINING)
        others = [endpoint("127.0.0.1", port=ready)]
        async with running_envoy(tmp_path, configuration(leaving, *others)) as envoy:
            assert {body for _, body in await call(envoy, "echo", 20)} == {"ready"}
            envoy.ads.put(r for r in configuration(leaving) if "Assignment" in r.type_url)
            await envoy.settled()
            assert await call(envoy, "echo", 5) == [(200, "draining")] * 5


async def test_a_sniffed_port_carries_http_whatever_it_is_called(tmp_path: Path) -> None:
    async with answering("a") as port:
        resources = configuration(endpoint("127.0.0.1", port=port), protocol=Protocol.SNIFFED)
        async with running_envoy(tmp_path, resources) as envoy:
            assert await call(envoy, "any.name", listener="10.1.0.1_80") == [(200, "a")]
            [virtual_host] = [
                host
                for config in (await envoy.ask("/config_dump"))["configs"]
                for route in config.get("dynamic_route_configs", [])
                for host in route["route_config"]["virtual_hosts"]
            ]
            assert virtual_host["name"] == "echo.demo.svc.cluster.local:80"


@pytest.mark.parametrize("protocol", [Protocol.SNIFFED, Protocol.TCP])
async def test_bytes_that_are_no_http_pass_as_they_are(protocol: Protocol, tmp_path: Path) -> None:
    async with shouting() as port:
        resources = configuration(endpoint("127.0.0.1", port=port), protocol=protocol)
        async with running_envoy(tmp_path, resources) as envoy:
            host, _, own = (await envoy.address_of("10.1.0.1_80")).rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(own))
            writer.write(b"hello\n")
            assert await reader.readline() == b"HELLO\n"
            writer.close()
            await writer.wait_closed()


async def test_safe_request_is_asked_again_elsewhere_when_its_endpoint_goes_away(tmp_path: Path) -> None:
    async with (
        answering("a") as port,
        hanging_up() as bad,
        running_envoy(
            tmp_path, configuration(endpoint("127.0.0.1", port=port), endpoint("127.0.0.2", port=bad))
        ) as envoy,
    ):
        address = await envoy.address_of("0.0.0.0_80")
        seen: dict[str, set[int]] = {}
        for method in ("GET", "POST"):
            for _ in range(10):
                async with envoy.session.request(
                    method, f"http://{address}/", headers={"Host": "echo"}
                ) as response:
                    seen.setdefault(method, set()).add(response.status)
    assert seen == {"GET": {200}, "POST": {200, 503}}
