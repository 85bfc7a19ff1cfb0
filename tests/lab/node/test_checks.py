import asyncio
from typing import Any

import msgspec
import pytest

from isthmus.lab.node.admission import refusal
from isthmus.lab.node.checks import Target, Verdict, act, resolve_port
from isthmus.lab.node.containers import restart_delay, restarts
from isthmus.lab.node.podspec import Container, Handler, Probe
from tests.lab.node.builders import pod

CONTAINER = msgspec.convert({"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}, Container)


async def run(command: list[str]) -> tuple[int, str]:
    if command == ["hang"]:
        await asyncio.sleep(60)
    return (0, "") if command == ["true"] else (1, "went wrong")


def handler(**fields: object) -> Handler:
    return msgspec.convert(fields, Handler)


async def outcome(action: Handler, timeout: float = 2) -> str | None:
    return await act(action, Target(CONTAINER, "127.0.0.1", run), timeout)


async def serve(status: str) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # a probe that only connects
            writer.close()
            return
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("status", "error"),
    [("200 OK", None), ("302 Found", None), ("503 Busy", "HTTP probe failed with statuscode: 503")],
)
async def test_an_http_probe_takes_200_to_399_for_success(status: str, error: str | None) -> None:
    async with await serve(status) as server:
        port = server.sockets[0].getsockname()[1]
        assert await outcome(handler(httpGet={"port": port, "path": "ready"})) == error


async def test_a_tcp_probe_wants_a_connection() -> None:
    async with await serve("200 OK") as server:
        port = server.sockets[0].getsockname()[1]
        assert await outcome(handler(tcpSocket={"port": port})) is None
    assert "Errno 111" in (await outcome(handler(tcpSocket={"port": port})) or "")


async def test_a_command_succeeds_with_exit_code_0() -> None:
    assert await outcome(handler(exec={"command": ["true"]})) is None
    assert await outcome(handler(exec={"command": ["x"]})) == "command exited with code 1: went wrong"
    assert await outcome(handler(exec={"command": ["hang"]}), 0.01) == "timed out after 0.01 seconds"


async def test_grpc_is_named_as_unsupported() -> None:
    assert await outcome(handler(grpc={"port": 1})) == "gRPC probes are not supported by the lab"


def test_ports_are_found_by_name() -> None:
    assert resolve_port("http", CONTAINER) == 8080
    assert resolve_port("81", CONTAINER) == 81
    with pytest.raises(ValueError, match="'nosuch' in container c"):
        resolve_port("nosuch", CONTAINER)


def test_a_verdict_changes_only_at_its_threshold() -> None:
    verdict = Verdict(Probe(success_threshold=2, failure_threshold=3), passing=False)
    heard = [
        (verdict.count(success), verdict.passing)[1]
        for success in (True, False, True, True, False, False, True)
    ]
    assert heard == [False, False, False, True, True, True, True]
    assert [verdict.count(False) for _ in range(3)] == [False, False, True]


def test_restarts_follow_the_policy_and_slow_down() -> None:
    assert [restarts(policy, 1) for policy in ("Always", "OnFailure", "Never")] == [True, True, False]
    assert [restarts(policy, 0) for policy in ("Always", "OnFailure", "Never")] == [True, False, False]
    assert [restart_delay(n) for n in (0, 1, 2, 3, 10)] == [0, 10, 20, 40, 300]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"hostNetwork": True}, "spec.hostNetwork: "),
    ({"hostPID": True}, "spec.hostPID: "),
    ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "spec.volumes[v]: hostPath"),
    ({"volumes": [{"name": "v", "nfs": {}}]}, "spec.volumes[v]: of a kind that the lab lacks"),
    (
        {"containers": [{"name": "c", "securityContext": {"privileged": True}}]},
        "spec.containers[c].securityContext",
    ),
]


@pytest.mark.parametrize(("spec", "text"), REFUSED)
def test_what_the_node_never_runs_is_refused_by_field(spec: dict[str, Any], text: str) -> None:
    assert (refusal(pod(spec)) or "").startswith(text)


def test_a_plain_pod_is_admitted() -> None:
    assert refusal(pod()) is None
