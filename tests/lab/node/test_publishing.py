import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lab.node.publishing import Conditions, StatusPublisher
from isthmus.lib.lifecycle import task_scope
from tests.support.virtual_time import run_in_virtual_time


class FakePod:
    """A pod whose status is one word, and a server that takes 10 ms and may fail first."""

    def __init__(self, *failures: Exception) -> None:
        self.phase = "Pending"
        self.written: list[str] = []
        self._failures = list(failures)

    def derive(self, earlier: Conditions) -> dict[str, Any]:
        condition = {
            "type": "Ready",
            "status": "False",
            "lastTransitionTime": earlier.get("Ready", ("", "t"))[1],
        }
        return {"phase": self.phase, "conditions": [condition]}

    async def write(self, status: dict[str, Any]) -> None:
        await asyncio.sleep(0.01)
        if self._failures:
            raise self._failures.pop(0)
        self.written.append(status["phase"])


@asynccontextmanager
async def publishing(pod: FakePod) -> AsyncGenerator[StatusPublisher]:
    publisher = StatusPublisher(pod.write, pod.derive, {})
    async with task_scope() as scope:
        scope.serve(publisher.serve(), name="status")
        yield publisher


def test_changes_during_a_write_go_into_the_next_and_equal_ones_into_none() -> None:
    async def scenario() -> None:
        pod = FakePod()
        async with publishing(pod) as publisher:
            publisher.wake()
            await asyncio.sleep(0.005)
            for pod.phase in ("Running", "Succeeded"):
                publisher.wake()
            await publisher.flush()
            await publisher.flush()
        assert pod.written == ["Pending", "Succeeded"]

    run_in_virtual_time(scenario())


def test_a_failed_write_is_repeated_until_it_succeeds() -> None:
    async def scenario() -> None:
        pod = FakePod(Unreachable("no answer"), ApiError(409, "Conflict", "try again"))
        async with publishing(pod) as publisher:
            await publisher.flush()
        assert pod.written == ["Pending"]

    run_in_virtual_time(scenario())


def test_a_pod_that_is_gone_needs_no_status() -> None:
    async def scenario() -> None:
        pod = FakePod(ApiError(404, "NotFound", "gone"))
        async with publishing(pod) as publisher:
            await publisher.flush()
        refused = FakePod(*(ApiError(409, "Conflict", "another pod of that name"),) * 100)
        async with publishing(refused) as publisher, asyncio.timeout(60):
            publisher.wake()
            await asyncio.sleep(1)
            publisher.abandon()
            await publisher.flush()
        assert pod.written == refused.written == []

    run_in_virtual_time(scenario())
