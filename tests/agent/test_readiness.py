import pytest

from isthmus.agent.readiness import Readiness, missing_configuration
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
    readiness = Readiness(admin, lambda: None)
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


async def test_what_the_agent_waits_for_is_named_before_what_envoy_lacks() -> None:
    awaited = ["no roots"]
    admin = FakeAdmin(down=True)
    readiness = Readiness(admin, lambda: awaited[0] if awaited else None)
    assert str(await readiness.why_unready()).startswith("no roots; Envoy's admin")
    admin.down = False
    assert await readiness.why_unready() == "no roots; no clusters from the control plane yet"
    awaited.clear()
    assert await readiness.why_unready() == "no clusters from the control plane yet"
    admin.stats = CONFIGURED
    assert await readiness.why_unready() is None
    awaited.append("no certificate")
    assert await readiness.why_unready() is None


async def test_a_draining_pod_is_unready_whatever_envoy_says() -> None:
    readiness = Readiness(FakeAdmin(CONFIGURED), lambda: None)
    assert await readiness.why_unready() is None
    readiness.drain()
    assert await readiness.why_unready() == "draining"
