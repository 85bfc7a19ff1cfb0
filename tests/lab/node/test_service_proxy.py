import asyncio

from isthmus.lab.node.endpoints import ServiceName
from isthmus.lab.node.service_proxy import RulesRefusedError, ServiceProxy
from isthmus.lib.lifecycle import task_scope
from tests.lab.node.builders import endpoint, service, services, slice_of
from tests.support.virtual_time import run_in_virtual_time


class FakeKernel:
    """Takes rules; refuses as many times as it is told to."""

    def __init__(self, refusals: int = 0) -> None:
        self.written: list[tuple[str, bool]] = []
        self._refusals = refusals

    async def apply(self, rules: str, replace: bool) -> None:
        await asyncio.sleep(0.01)
        if self._refusals and not replace:
            self._refusals -= 1
            raise RulesRefusedError("line 3 failed")
        self.written.append((rules, replace))


def test_changes_during_a_write_are_gathered_into_the_next() -> None:
    async def scenario() -> None:
        known, kernel = services(service()), FakeKernel()
        proxy = ServiceProxy(known, kernel.apply)
        name = ServiceName("demo", "web")
        proxy.changed([name])
        async with task_scope() as scope:
            scope.serve(proxy.serve(), name="proxy")
            await proxy.settled()
            for number in range(1, 6):
                known.put_slice(slice_of("web", endpoint(f"10.0.0.{number}")))
                proxy.changed([name])
                await asyncio.sleep(0.003)
            await asyncio.sleep(1)
        assert [replace for _, replace in kernel.written] == [True, False, False, False, False]
        assert "10.0.0.5" in kernel.written[-1][0]

    run_in_virtual_time(scenario())


def test_refused_rules_are_all_written_anew() -> None:
    async def scenario() -> None:
        kernel = FakeKernel(refusals=2)
        proxy = ServiceProxy(services(service()), kernel.apply)
        proxy.changed([ServiceName("demo", "web")])
        async with task_scope() as scope:
            scope.serve(proxy.serve(), name="proxy")
            await proxy.settled()
        assert [replace for _, replace in kernel.written] == [True, True, True, False]

    run_in_virtual_time(scenario())
