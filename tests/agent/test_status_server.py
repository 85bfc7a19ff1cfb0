import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from isthmus.agent.admin import AdminClient
from isthmus.agent.errors import AdminUnreachableError
from isthmus.agent.status_server import Status, serving_status
from isthmus.agent.waiting import wait_until_ready
from isthmus.config.app_probes import AppProbe, TcpSocket
from isthmus.lib.errors import UserError
from tests.agent.test_app_probes import listening

LOOPBACK = ("127.0.0.1",)


@dataclass
class Sidecar:
    """What the agent would say of itself."""

    reasons: list[str | None] = field(default_factory=list[str | None])
    quits: int = 0

    async def why_unready(self) -> str | None:
        return self.reasons.pop(0) if self.reasons else None

    def quit(self) -> None:
        self.quits += 1

    def status(self, **probes: AppProbe) -> Status:
        found = {f"/app-health/{name}/livez": probe for name, probe in probes.items()}
        return Status(self.why_unready, self.quit, found, "127.0.0.1", lambda: "metric 1\n")


@asynccontextmanager
async def serving(sidecar: Sidecar, **probes: AppProbe) -> AsyncGenerator[int]:
    async with serving_status(LOOPBACK, 0, sidecar.status(**probes)) as port:
        yield port


async def test_readiness_is_answered_with_the_reason() -> None:
    async with serving(Sidecar([None, "no clusters yet"])) as port:
        client = AdminClient(port)
        assert await client.get("/healthz/ready?x=1") == "ready\n"
        with pytest.raises(AdminUnreachableError, match="503 no clusters yet"):
            await client.get("/healthz/ready")
        with pytest.raises(AdminUnreachableError, match="404"):
            await client.get("/nothing")
        with pytest.raises(AdminUnreachableError, match="404"):
            await client.post("/healthz/ready")


async def test_a_probe_of_the_application_is_made_when_it_is_asked_for() -> None:
    async with listening() as taken:
        answer = Sidecar().status(app=AppProbe(tcp_socket=TcpSocket(taken))).answer
        assert await answer("GET", "/app-health/app/livez", "10.1.0.1") == (200, "healthy")
    async with serving(Sidecar(), app=AppProbe(tcp_socket=TcpSocket(taken))) as port:
        client = AdminClient(port)
        with pytest.raises(AdminUnreachableError, match="503"):
            await client.get("/app-health/app/livez")
        with pytest.raises(AdminUnreachableError, match="404 no such probe"):
            await client.get("/app-health/other/livez")


async def test_who_is_in_the_pod_may_end_the_sidecar() -> None:
    sidecar = Sidecar()
    async with serving(sidecar) as port:
        with pytest.raises(AdminUnreachableError, match="405"):
            await AdminClient(port).get("/quitquitquit")
        assert await AdminClient(port).post("/quitquitquit") == "ending\n"
    assert sidecar.quits == 1


@pytest.mark.parametrize("asker", ["10.1.2.3", "fe80::1%eth0", "::ffff:10.1.2.3"])
async def test_nobody_else_may_end_it(asker: str) -> None:
    sidecar = Sidecar()
    code, _ = await sidecar.status().answer("POST", "/quitquitquit", asker)
    assert (code, sidecar.quits) == (403, 0)


@pytest.mark.parametrize("garbage", [b"", b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\x00\r\n\r\n", b"x" * 20000])
async def test_garbage_disturbs_nobody(garbage: bytes) -> None:
    async with serving(Sidecar()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(garbage)
        writer.write_eof()
        assert not (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert await AdminClient(port).get("/healthz/ready") == "ready\n"


@pytest.mark.parametrize("hosts", [LOOPBACK, ("0.0.0.0",)])
async def test_a_taken_port_is_said_with_its_number(hosts: Sequence[str]) -> None:
    async with serving_status(hosts, 0, Sidecar().status()) as port:
        with pytest.raises(UserError, match=f"{hosts[0]}, port {port}"):
            async with serving_status(hosts, port, Sidecar().status()):
                pass


async def test_the_application_is_held_back_until_the_sidecar_is_ready() -> None:
    sidecar = Sidecar(["no clusters yet", None])
    async with serving(sidecar) as port:
        await wait_until_ready(port, 10)
    assert not sidecar.reasons


async def test_waiting_in_vain_ends_with_the_last_reason() -> None:
    async with serving(Sidecar(["no clusters yet"] * 9)) as port:
        with pytest.raises(UserError, match=r"not ready after 0\.5 seconds: .* no clusters yet"):
            await wait_until_ready(port, 0.5)
