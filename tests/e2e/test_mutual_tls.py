"""Between clusters nothing goes in clear, servers are told who calls, and STRICT refuses who does not say."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml

from isthmus.lab.demo.deploy import SYSTEM, enter_client
from isthmus.lab.demo.workloads import DEMO, ECHO_URL
from isthmus.lab.node.enter import Entrance
from isthmus.lab.plan import STATE
from tests.e2e.commands import isthmus, kubectl, pods
from tests.e2e.conftest import Mesh

CALLER = "spiffe://cluster.local/ns/demo/sa/default"
MARK = "4f0c7b1e-in-clear"
CAPTURE = """
import json, os, select, socket, sys
mark, seen = sys.argv[1].encode(), dict(packets=0, tls=0, marked=0)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
print("capturing", flush=True)
while True:
    ready, _, _ = select.select([wire, sys.stdin], [], [])
    if sys.stdin in ready:
        break
    packet, (interface, *_) = wire.recvfrom(65535)
    if interface == "lo":
        continue
    body = packet[14:]
    if body[9] != 6:
        continue
    tcp = body[(body[0] & 15) * 4:]
    data = tcp[(tcp[12] >> 4) * 4:]
    if 8080 in (int.from_bytes(tcp[:2], "big"), int.from_bytes(tcp[2:4], "big")) and data:
        seen["packets"] += 1
        seen["tls"] += data[:2] in (b"\\x16\\x03", b"\\x17\\x03")
        seen["marked"] += mark in data
print(json.dumps(seen), flush=True)
"""


async def run(entrance: Entrance) -> str:
    process = await asyncio.create_subprocess_exec(
        *entrance.argv, env=entrance.env, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output.decode()


@asynccontextmanager
async def capturing(mesh: Mesh) -> AsyncGenerator[Callable[[], Any]]:
    """What passes the client pod's interface to or from an application's port, from now until it is asked."""
    entrance = await enter_client(mesh.primary, ["python", "-c", CAPTURE, MARK])
    process = await asyncio.create_subprocess_exec(
        *entrance.argv, env=entrance.env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"capturing\n"

        async def seen() -> dict[str, int]:
            output, _ = await process.communicate(b"\n")
            return json.loads(output)

        yield seen
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ask(mesh: Mesh, times: int, url: str = ECHO_URL) -> list[dict[str, Any]]:
    """What echo answers to the client's requests, which carry the mark."""
    curl = ["curl", "-s", "-H", f"x-mark: {MARK}", f"{url}?[1-{times}]"]
    answers = await run(await enter_client(mesh.primary, curl))
    return [json.loads(line) for line in answers.splitlines()]


async def plain(address: str) -> str:
    """What the pod at that address answers to somebody outside of the mesh; "" where it refuses."""
    try:
        reader, writer = await asyncio.open_connection(address, 8080)
    except OSError:
        return ""
    try:
        writer.write(
            b"GET / HTTP/1.1\r\nhost: echo\r\nx-forwarded-client-cert: forged\r\nconnection: close\r\n\r\n"
        )
        return (await reader.read()).decode()
    except OSError:
        return ""
    finally:
        writer.transport.abort()


async def until(address: str, wanted: Callable[[str], bool]) -> str:
    async with asyncio.timeout(30):
        while not wanted(answer := await plain(address)):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.05)
    return answer


@pytest.fixture
def accepting(mesh: Mesh) -> Any:
    """Sets what the mesh accepts; taken back at the end."""

    def accept(mode: str) -> None:
        found = {
            "apiVersion": "security.istio.io/v1",
            "kind": "PeerAuthentication",
            "metadata": {"name": "default", "namespace": SYSTEM},
            "spec": {"mtls": {"mode": mode}},
        }
        kubectl(mesh.primary.name, "apply", "-f", "-", text=yaml.safe_dump(found))

    yield accept
    kubectl(mesh.primary.name, "delete", "peerauthentication", "default", "-n", SYSTEM)


@pytest.fixture
def headless(mesh: Mesh) -> Generator[str]:
    """The URL of echo's pods behind a headless Service: the client's DNS chooses the endpoint, not Envoy."""
    spec = {"clusterIP": "None", "selector": {"app": "echo"}, "ports": [{"name": "http", "port": 8080}]}
    metadata = {"name": "each", "namespace": DEMO}
    service = yaml.safe_dump({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    for cluster in (mesh.primary, mesh.remote):
        kubectl(cluster.name, "apply", "-f", "-", text=service)
    yield f"http://each.{DEMO}.svc.cluster.local:8080/"
    for cluster in (mesh.primary, mesh.remote):
        kubectl(cluster.name, "delete", "service", "each", "-n", DEMO)


async def named(mesh: Mesh, url: str) -> bool:
    """Whether the server is told who calls, once the service is there."""
    async with asyncio.timeout(30):
        while not (answers := await ask(mesh, 1, url)):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.2)
    return f"URI={CALLER}" in answers[0]["headers"].get("x-forwarded-client-cert", "")


async def test_traffic_between_clusters_is_encrypted_named_and_where_asked_for_nothing_else_is_accepted(
    mesh: Mesh, accepting: Callable[[str], None], headless: str
) -> None:
    async with capturing(mesh) as seen:
        answers = await ask(mesh, 40)
        captured = await seen()
    assert {answer["cluster"] for answer in answers} == {mesh.primary.name, mesh.remote.name}
    for answer in answers:
        told = answer["headers"]["x-forwarded-client-cert"]
        assert (told.count("By="), told.rpartition(";")[2]) == (1, f"URI={CALLER}")
        assert answer["headers"]["x-mark"] == MARK
    assert captured["tls"] >= 2 * len(answers)
    assert captured["marked"] == 0
    assert await named(mesh, headless), "a headless service's pods all take mutual TLS, and so get it"
    async with capturing(mesh) as seen:
        answers = await ask(mesh, 10, headless)
        captured = await seen()
    assert (len(answers), captured["marked"]) == (10, 0)

    (server, *_) = pods(mesh.remote.name, DEMO, "app=echo")
    address = server["status"]["podIP"]
    answer = await plain(address)
    assert "200 OK" in answer
    assert "forged" not in answer

    begun = time.monotonic()
    accepting("STRICT")
    await until(address, lambda answer: answer == "")
    assert (await ask(mesh, 1))[0]["headers"]["x-forwarded-client-cert"]
    assert await named(mesh, headless)
    shown = isthmus("mtls", DEMO, "--kubeconfig", str(STATE / mesh.primary.name / "kubeconfig"))
    rows = [line.split() for line in shown.stdout.splitlines()]
    for cluster in (mesh.primary.name, mesh.remote.name):
        assert [cluster, DEMO, "echo"] in [
            row[:3] for row in rows if row[4:] == ["STRICT", f"{SYSTEM}/default"]
        ]
    accepting("DISABLE")
    answer = await until(address, lambda answer: "200 OK" in answer)
    async with capturing(mesh) as seen:
        async with asyncio.timeout(30):
            while any("x-forwarded-client-cert" in answer["headers"] for answer in await ask(mesh, 20)):
                pass
        captured = await seen()
    async with asyncio.timeout(30):
        while await named(mesh, headless):
            pass
    assert captured["marked"] > 0, "the capture would have seen it"
    assert [answer for answer in mesh.observed.since(begun) if answer.failed] == []
