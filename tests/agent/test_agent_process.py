"""The agent as the process it is in a pod, beside a fake Envoy; and once beside a real one."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.agent.admin import AdminClient
from isthmus.lib.binaries import find_envoy
from tests.agent.fake_ads import serving_empty_mesh
from tests.agent.pod import resident_mebibytes, running_pod
from tests.agent.test_readiness import CONFIGURED

FAKE = Path(__file__).with_name("fake_envoy.py")
ACTIVE = "listener.0.0.0.0_15006.downstream_cx_active"


@pytest.fixture
def fake_envoy(tmp_path: Path) -> Path:
    script = tmp_path / "envoy"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    script.chmod(0o755)
    (tmp_path / "stats").write_text("")
    return script


def envoy_pid(folder: Path) -> int:
    return int((folder / "pid").read_text())


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def test_it_is_ready_only_when_envoy_has_its_configuration(tmp_path: Path, fake_envoy: Path) -> None:
    async with running_pod(tmp_path, fake_envoy) as pod:
        await pod.health_says(pod.status, "no clusters from the control plane yet")
        pod.answer_stats(CONFIGURED)
        await pod.health_says(pod.status, "ready\n")
        pod.agent.send_signal(signal.SIGTERM)
        assert await pod.ended() == 0
    assert is_gone(envoy_pid(tmp_path))


async def test_sigterm_makes_it_unready_and_drains_until_clients_are_gone(
    tmp_path: Path, fake_envoy: Path
) -> None:
    async with running_pod(tmp_path, fake_envoy) as pod:
        pod.answer_stats({**CONFIGURED, ACTIVE: 2})
        await pod.health_says(pod.status, "ready\n")
        pod.agent.send_signal(signal.SIGTERM)
        await pod.health_says(pod.status, "503 draining")
        assert not is_gone(envoy_pid(tmp_path))
        pod.answer_stats({**CONFIGURED, ACTIVE: 0})
        assert await pod.ended() == 0
    assert "POST /drain_listeners?graceful&skip_exit\n" in (tmp_path / "requests").read_text()
    assert is_gone(envoy_pid(tmp_path))


async def test_it_ends_when_somebody_in_the_pod_says_so(tmp_path: Path, fake_envoy: Path) -> None:
    async with running_pod(tmp_path, fake_envoy) as pod:
        pod.answer_stats(CONFIGURED)
        await pod.health_says(pod.status, "ready\n")
        assert await AdminClient(pod.status).post("/quitquitquit") == "ending\n"
        assert await pod.ended() == 0
    assert is_gone(envoy_pid(tmp_path))


async def test_a_crash_of_envoy_ends_the_agent_with_its_code_and_reason(
    tmp_path: Path, fake_envoy: Path
) -> None:
    async with running_pod(tmp_path, fake_envoy) as pod:
        await pod.health_says(pod.status, "no clusters")
        (tmp_path / "crash").write_text("7")
        assert await pod.ended() == 7
        assert b"Envoy ended with code 7" in pod.said


async def test_a_killed_envoy_ends_the_agent_with_the_signals_name(tmp_path: Path, fake_envoy: Path) -> None:
    async with running_pod(tmp_path, fake_envoy) as pod:
        await pod.health_says(pod.status, "no clusters")
        os.kill(envoy_pid(tmp_path), signal.SIGKILL)
        assert await pod.ended() == 137
        assert b"SIGKILL" in pod.said


async def test_an_envoy_that_ends_while_draining_is_no_error(tmp_path: Path, fake_envoy: Path) -> None:
    async with running_pod(tmp_path, fake_envoy) as pod:
        pod.answer_stats({**CONFIGURED, ACTIVE: 2})
        await pod.health_says(pod.status, "ready\n")
        pod.agent.send_signal(signal.SIGTERM)
        await pod.health_says(pod.status, "draining")
        os.kill(envoy_pid(tmp_path), signal.SIGKILL)
        assert await pod.ended() == 0


def _without_pod_name(environment: dict[str, str]) -> None:
    del environment["POD_NAME"]


def _with_closed_folder(environment: dict[str, str]) -> None:
    environment["PROXY_CONFIG"] = '{"configPath": "/proc/nowhere", "statusPort": 1}'


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [(_without_pod_name, b"POD_NAME is not set"), (_with_closed_folder, b"/proc/nowhere/envoy-rev.json")],
)
async def test_what_it_cannot_work_with_is_one_sentence(
    spoil: Callable[[dict[str, str]], None], sentence: bytes, fake_envoy: Path
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "POD_NAME": "echo-1",
        "POD_NAMESPACE": "demo",
        "INSTANCE_IP": "127.0.0.1",
        "ENVOY_PATH": str(fake_envoy),
    }
    spoil(environment)
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isthmus.apps.agent_process"), env=environment, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await agent.communicate()
    assert agent.returncode == 1
    assert said.startswith(b"isthmus: ")
    assert sentence in said
    assert b"Traceback" not in said


async def test_the_command_becomes_the_agent() -> None:
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isthmus.cli.main", "agent"), env={}, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await command.communicate()
    assert command.returncode == 1
    assert said.startswith(b"isthmus: INSTANCE_IP is not set")


async def test_a_real_envoy_becomes_ready_through_its_own_listener_and_drains(tmp_path: Path) -> None:
    async with (
        serving_empty_mesh() as discovery,
        running_pod(tmp_path, find_envoy(), f"localhost:{discovery}") as pod,
    ):
        await pod.health_says(pod.health, "ready\n")
        assert "LIVE" in await AdminClient(pod.admin).get("/ready")
        assert resident_mebibytes(pod.agent.pid) < 40
        pod.agent.send_signal(signal.SIGTERM)
        assert await pod.ended() == 0
        assert b"Envoy is drained" in pod.said


async def test_a_real_envoy_without_a_control_plane_is_not_ready(tmp_path: Path) -> None:
    async with running_pod(tmp_path, find_envoy()) as pod:
        await pod.health_says(pod.status, "no clusters from the control plane yet")
        pod.agent.send_signal(signal.SIGTERM)
        assert await pod.ended() == 0
