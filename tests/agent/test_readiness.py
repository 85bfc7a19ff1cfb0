import asyncio

import pytest

from isthmus.agent.admin import AdminClient
from isthmus.agent.errors import AdminUnreachableError
from isthmus.agent.readiness import Readiness, missing_configuration, serving_health
from isthmus.lib.errors import UserError
from tests.agent.fake_admin import FakeAdmin

CONFIGURED = {
    "cluster_manager.cds.update_success": 1,
    "listener_manager.lds.update_success": 1,
    "listener_manager.workers_started": 1,
    "server.state": 0,
}


def test_an_envoy_with_its_whole_configuration_misses_nothing() -> None:
    assert missing_configuration(CONFIGURED) is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("cluster_manager.cds.update_success", 0, "clusters"),
        ("listener_manager.lds.update_success", 0, "listeners"),
        ("listener_manager.workers_started", 0, "workers"),
        ("server.state", 2, "live"),
    ],
)
def test_each_missing_part_is_named(name: str, value: int, reason: str) -> None:
    assert reason in str(missing_configuration({**CONFIGURED, name: value}))
    assert reason in str(missing_configuration({key: n for key, n in CONFIGURED.items() if key != name}))


async def test_it_is_unready_until_configured_and_then_ready_as_long_as_envoy_is_live() -> None:
    admin = FakeAdmin(down=True)
    readiness = Readiness(admin)
    assert "admin" in str(await readiness.why_unready())
    admin.down = False
    assert "clusters" in str(await readiness.why_unready())
    admin.stats = CONFIGURED
    assert await readiness.why_unready() is None
    admin.asked.clear()
    assert await readiness.why_unready() is None
    assert admin.asked == ["GET /ready"]
    admin.down = True
    assert "admin" in str(await readiness.why_unready())


async def test_a_draining_pod_is_unready_whatever_envoy_says() -> None:
    readiness = Readiness(FakeAdmin(CONFIGURED))
    assert await readiness.why_unready() is None
    readiness.drain()
    assert await readiness.why_unready() == "draining"


async def test_the_endpoint_answers_with_the_reason() -> None:
    reasons: list[str | None] = [None, "no clusters yet"]

    async def why_unready() -> str | None:
        return reasons.pop(0)

    async with serving_health(0, why_unready) as port:
        client = AdminClient(port)
        assert await client.get("/healthz/ready?x=1") == "ready\n"
        with pytest.raises(AdminUnreachableError, match="503 no clusters yet"):
            await client.get("/healthz/ready")
        with pytest.raises(AdminUnreachableError, match="404"):
            await client.get("/quitquitquit")
        with pytest.raises(AdminUnreachableError, match="404"):
            await client.post("/healthz/ready")


@pytest.mark.parametrize("garbage", [b"", b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\x00\r\n\r\n", b"x" * 20000])
async def test_garbage_disturbs_nobody(garbage: bytes) -> None:
    async def why_unready() -> str | None:
        return None

    async with serving_health(0, why_unready) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(garbage)
        writer.write_eof()
        assert not (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert await AdminClient(port).get("/healthz/ready") == "ready\n"


async def test_a_taken_port_is_said_with_its_number() -> None:
    async def why_unready() -> str | None:
        return None

    async with serving_health(0, why_unready) as port:
        with pytest.raises(UserError, match=f"127.0.0.1:{port}"):
            async with serving_health(port, why_unready):
                pass
