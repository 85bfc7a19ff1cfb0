import asyncio

from isthmus.agent.drain import DRAIN, active_connections, drain
from tests.agent.fake_admin import FakeAdmin
from tests.support.virtual_time import run_in_virtual_time

BUSY = {"listener.0.0.0.0_15006.downstream_cx_active": 3}
IDLE = {"listener.0.0.0.0_15006.downstream_cx_active": 0}


async def _seconds_to_drain(admin: FakeAdmin, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await drain(admin, seconds)
    return loop.time() - began


def test_envoy_is_told_first_and_given_the_whole_time_while_clients_stay() -> None:
    admin = FakeAdmin(BUSY)
    assert run_in_virtual_time(_seconds_to_drain(admin, 5.0)) == 5.0
    assert admin.asked[0] == f"POST {DRAIN}"


def test_it_ends_once_nobody_was_connected_for_a_second() -> None:
    assert run_in_virtual_time(_seconds_to_drain(FakeAdmin(IDLE), 5.0)) == 1.0


def test_a_client_that_comes_back_starts_the_second_anew() -> None:
    async def scene() -> float:
        admin = FakeAdmin(IDLE)
        async with asyncio.TaskGroup() as group:
            seconds = group.create_task(_seconds_to_drain(admin, 30.0))
            await asyncio.sleep(0.9)
            admin.stats = BUSY
            await asyncio.sleep(2.0)
            admin.stats = IDLE
        return seconds.result()

    assert 3.5 <= run_in_virtual_time(scene()) <= 4.0


def test_an_envoy_that_does_not_answer_has_nothing_to_drain() -> None:
    assert run_in_virtual_time(_seconds_to_drain(FakeAdmin(down=True), 5.0)) == 0.0


def test_no_time_to_drain_is_no_waiting() -> None:
    assert run_in_virtual_time(_seconds_to_drain(FakeAdmin(BUSY), 0.0)) == 0.0


def test_probes_scrapes_and_the_share_of_each_worker_are_no_clients() -> None:
    stats = """\
listener.0.0.0.0_15001.downstream_cx_active: 2
listener.0.0.0.0_15001.worker_0.downstream_cx_active: 1
listener.0.0.0.0_15001.worker_1.downstream_cx_active: 1
listener.10.0.0.7_80.downstream_cx_active: 1
listener.admin.downstream_cx_active: 1
listener.admin.main_thread.downstream_cx_active: 1
listener.health.downstream_cx_active: 4
listener.prometheus.downstream_cx_active: 1
"""
    assert active_connections(stats) == 3
