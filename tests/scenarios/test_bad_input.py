"""Whatever one cluster, Secret, object or proxy does, it is named, and nothing else is disturbed."""

import asyncio
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.scenarios.mesh import Pilot, ads, eventually, proxy_of, running_pilot, two_clusters

FLATTEN = "kubectl config view --raw --flatten --minify"


def kubeconfig(server: str, user: str = "{token: secret-token}") -> bytes:
    return (
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        f"clusters: [{{name: c, cluster: {{server: {server!r}}}}}]\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\n"
        f"users: [{{name: u, user: {user}}}]\n"
    ).encode()


EXEC = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, 'touch /tmp/x']}}"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"\x00\x01 no kubeconfig", ["istio-system/broken", "broken"]),
        (kubeconfig("https://127.0.0.1:1", EXEC), ["users[0].user.exec", FLATTEN]),
        (kubeconfig("https://127.0.0.1:1", "{tokenFile: /etc/shadow}"), ["users[0].user.tokenFile", FLATTEN]),
    ],
)
async def test_a_secret_that_cannot_be_used_is_refused_by_its_field(
    bad: bytes, words: list[str], tmp_path: Path
) -> None:
    async with two_clusters() as mesh:
        await mesh.west.serve_echo("10.1.0.1")
        await mesh.join("broken", bad)
        async with running_pilot(mesh.west.server, tmp_path) as pilot, proxy_of(pilot) as proxy:
            assert await proxy.addresses() == ["10.1.0.1"]
            row = await pilot.cluster("broken", lambda row: row["state"] == "refused")
            for word in words:
                assert word in row["reason"]
            await mesh.west.move_echo("10.1.0.2")
            assert await proxy.addresses() == ["10.1.0.2"]
            assert "secret-token" not in str(pilot.log) + str(await pilot.page("/debug/clusterz"))


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncGenerator[str]:
    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    page = b"<html>welcome</html>"
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page) + page
    )
    await writer.drain()
    writer.close()


async def disturb(pilot: Pilot, mesh: Any, url: str, states: set[str]) -> None:
    async with proxy_of(pilot) as proxy:
        assert await proxy.addresses() == ["10.1.0.1"]
        await mesh.join("strange", kubeconfig(url, "{}"))
        row = await pilot.cluster("strange", lambda row: row["state"] in states)
        assert not row["served"]
        await mesh.join_east()
        await proxy.until("10.1.0.1", "10.2.0.1")
        await mesh.west.move_echo("10.1.0.2")
        await proxy.until("10.1.0.2", "10.2.0.1")


@pytest.mark.parametrize("answer", [hang, nonsense])
async def test_an_api_server_that_hangs_or_lies_disturbs_no_other_cluster(
    answer: Answer, tmp_path: Path
) -> None:
    states = {"syncing", "unreachable"} if answer is hang else {"unreachable"}
    async with two_clusters() as mesh, server(answer) as url:
        await mesh.west.serve_echo("10.1.0.1")
        await mesh.east.serve_echo("10.2.0.1")
        async with running_pilot(mesh.west.server, tmp_path) as pilot:
            await disturb(pilot, mesh, url, states)


async def test_an_api_server_that_refuses_connections_says_so_and_disturbs_no_other(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with two_clusters() as mesh:
        await mesh.west.serve_echo("10.1.0.1")
        await mesh.east.serve_echo("10.2.0.1")
        async with running_pilot(mesh.west.server, tmp_path) as pilot:
            await disturb(pilot, mesh, f"http://127.0.0.1:{port}", {"unreachable"})
            row = await pilot.cluster("strange", lambda row: True)
            assert "refused" in row["reason"].lower()


async def test_a_bad_address_is_rejected_by_name_and_the_others_are_served(tmp_path: Path) -> None:
    """These API servers listen on loopback, which an endpoint of their Service `kubernetes` must not name."""
    async with two_clusters() as mesh:
        await mesh.west.serve_echo("10.1.0.1")
        async with running_pilot(mesh.west.server, tmp_path) as pilot, proxy_of(pilot) as proxy:
            assert await proxy.addresses() == ["10.1.0.1"]
            row = await pilot.cluster("west", lambda row: bool(row["rejected"]))
            (rejected,) = row["rejected"]
            assert rejected["object"] == "default/kubernetes"
            assert "127.0.0.1 is a loopback address" in rejected["reason"]
            assert row["state"] == "fresh"


async def test_clusters_that_disagree_on_a_protocol_are_both_served_and_reported(tmp_path: Path) -> None:
    async with two_clusters() as mesh:
        await mesh.west.serve_echo("10.1.0.1", port_name="http")
        await mesh.east.serve_echo("10.2.0.1", port_name="tcp")
        await mesh.join_east()
        async with running_pilot(mesh.west.server, tmp_path) as pilot, proxy_of(pilot) as proxy:
            await proxy.until("10.1.0.1", "10.2.0.1")
            services = await pilot.page("/debug/registryz")
            (echo,) = [one for one in services if one["hostname"] == "echo.demo.svc.cluster.local"]
            assert echo["conflicts"] == [
                {"port": 80, "chosen": "TCP", "declared": {"east": "TCP", "west": "HTTP"}}
            ]


async def test_a_proxy_that_sends_garbage_ends_alone(tmp_path: Path) -> None:
    async with two_clusters() as mesh:
        await mesh.west.serve_echo("10.1.0.1")
        async with running_pilot(mesh.west.server, tmp_path) as pilot, proxy_of(pilot) as proxy:
            assert await proxy.addresses() == ["10.1.0.1"]
            async with aio.insecure_channel(f"127.0.0.1:{await pilot.xds_port()}") as channel:
                call = ads(channel)()
                await call.write(b"\xff" * 300)
                assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            await mesh.west.move_echo("10.1.0.2")
            assert await proxy.addresses() == ["10.1.0.2"]


async def test_an_unreachable_own_cluster_is_named_by_the_readiness_page(tmp_path: Path) -> None:
    dead = tmp_path / "dead.kubeconfig"
    dead.write_bytes(kubeconfig("http://127.0.0.1:1", "{}"))
    async with running_pilot(dead, tmp_path) as pilot:

        async def named() -> str | None:
            status, text = await pilot.page("/ready")
            return text if status == 503 and "cluster west" in text and "unreachable" in text else None

        assert "waiting for cluster west" in await eventually(named)


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        (["--xds-address", "nowhere"], ["--xds-address", "HOST:PORT"], 2),
        (["--kubeconfig", "/no/such/file"], ["/no/such/file"], 1),
        (["--no-such-option"], ["--no-such-option"], 2),
    ],
)
async def test_wrong_usage_is_one_sentence_and_an_exit_code(
    options: list[str], words: list[str], code: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isthmus.cli.main", "pilot", *options),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == code
    for word in words:
        assert word in said.decode()
    assert "Traceback" not in said.decode()
