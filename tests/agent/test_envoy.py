import asyncio
import os
import signal
from pathlib import Path

import pytest

from isthmus.agent.envoy import envoy_arguments, running_envoy
from isthmus.agent.errors import EnvoyEndedError
from isthmus.agent.settings import read_settings
from isthmus.lib.errors import UserError
from tests.agent.test_settings import ENVIRONMENT

SHELL = Path("/bin/sh")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_and_drain_time_are_what_the_proxy_config_says() -> None:
    config = '{"concurrency": 3, "drainDuration": "1m30s"}'
    arguments = envoy_arguments(read_settings({**ENVIRONMENT, "PROXY_CONFIG": config}), Path("b.json"))
    said = " ".join(arguments)
    assert "--config-path b.json --concurrency 3 --drain-time-s 90 " in said
    assert "--local-address-ip-version v4" in said


def test_no_number_of_workers_lets_envoy_choose() -> None:
    settings = read_settings({**ENVIRONMENT, "PROXY_CONFIG": '{"concurrency": 0}'})
    assert "--concurrency" not in envoy_arguments(settings, Path("b.json"))


async def test_envoy_ends_with_the_block() -> None:
    async with running_envoy(SHELL, ["-c", "exec sleep 60"]) as process:
        assert alive(process.pid)
    assert process.returncode == -signal.SIGTERM
    assert not alive(process.pid)


async def test_envoy_that_ignores_sigterm_is_killed() -> None:
    async with running_envoy(
        SHELL, ["-c", "trap '' TERM; echo; sleep 60 & wait; wait"], grace=0.2
    ) as process:
        await asyncio.sleep(0.1)
    assert process.returncode is not None
    assert not alive(process.pid)


async def test_envoy_is_awaited_though_the_block_is_cancelled() -> None:
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def keep() -> None:
        async with running_envoy(SHELL, ["-c", "exec sleep 60"]) as process:
            started.set_result(process.pid)
            await asyncio.Event().wait()

    task = asyncio.ensure_future(keep())
    pid = await started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid)


async def test_a_missing_envoy_is_said_with_its_path() -> None:
    with pytest.raises(UserError, match="/nowhere/envoy"):
        async with running_envoy(Path("/nowhere/envoy"), []):
            pass


@pytest.mark.parametrize(
    ("returncode", "exit_code", "reason"),
    [(3, 3, "code 3"), (0, 1, "code 0"), (-signal.SIGSEGV, 139, "SIGSEGV"), (-99, 227, "signal 99")],
)
def test_an_ending_becomes_a_reason_and_a_nonzero_exit_code(
    returncode: int, exit_code: int, reason: str
) -> None:
    error = EnvoyEndedError(returncode)
    assert error.exit_code == exit_code
    assert reason in str(error)
