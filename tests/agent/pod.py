"""The agent as the process it is in a pod, with ports and a folder of its own."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from isthmus.agent.admin import AdminClient
from isthmus.agent.errors import AdminUnreachableError

PATIENCE = 20.0


@dataclass
class Pod:
    """A folder and ports of its own, and the agent that runs there."""

    folder: Path
    agent: Process
    admin: int
    status: int
    health: int
    said: bytes = b""

    def answer_stats(self, stats: dict[str, int]) -> None:
        (self.folder / "stats").write_text("".join(f"{name}: {value}\n" for name, value in stats.items()))

    async def health_of(self, port: int) -> str:
        """The readiness endpoint's text, or why there is none."""
        try:
            return await AdminClient(port).get("/healthz/ready")
        except AdminUnreachableError as error:
            return str(error)

    async def health_says(self, port: int, word: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while word not in await self.health_of(port):  # noqa: ASYNC110 -- another process decides
                await asyncio.sleep(0.02)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            self.said, _ = await self.agent.communicate()
        assert self.agent.returncode is not None
        return self.agent.returncode


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@asynccontextmanager
async def running_pod(
    folder: Path,
    envoy: Path,
    discovery: str = "localhost:9",
    *,
    proxy: Mapping[str, Any] | None = None,
    more: Mapping[str, str] | None = None,
) -> AsyncGenerator[Pod]:
    """The agent's process. It dials in plain text unless `proxy`, fields of ProxyConfig, says otherwise;
    `more` is environment.
    """
    admin, status, health, prometheus = free_ports(4)
    config = {
        "configPath": str(folder),
        "proxyAdminPort": admin,
        "statusPort": status,
        "discoveryAddress": discovery,
        "controlPlaneAuthPolicy": "NONE",
        "concurrency": 1,
        **(proxy or {}),
    }
    environment = {
        "PATH": os.environ["PATH"],
        "POD_NAME": "echo-1",
        "POD_NAMESPACE": "demo",
        "INSTANCE_IP": "127.0.0.1",
        "ENVOY_PATH": str(envoy),
        "ENVOY_STATUS_PORT": str(health),
        "ENVOY_PROMETHEUS_PORT": str(prometheus),
        "CA_ROOT_CA": str(folder / "root-cert.pem"),
        "ISTIO_TOKEN_FILE": str(folder / "istio-token"),
        "PROXY_CONFIG": msgspec.json.encode(config).decode(),
        **(more or {}),
    }
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isthmus.apps.agent_process"),
        env=environment,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    pod = Pod(folder, agent, admin, status, health)
    try:
        yield pod
    finally:
        if agent.returncode is None:
            os.killpg(agent.pid, signal.SIGKILL)  # Envoy too, which holds the pipe
            await agent.communicate()


def resident_mebibytes(pid: int) -> float:
    """What the process has in memory now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
