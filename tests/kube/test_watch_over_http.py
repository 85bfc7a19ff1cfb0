import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import POD, SERVICE, Kind
from isthmus.kube.watch import Event, Phase, Removed, Synced, Upserted, WatchState, watch_kind
from isthmus.lib.lifecycle import task_scope
from tests.kube.fake_api import FakeApi, running_fake_api, status


class Heard:
    """What a watch delivered and reported, in order, with a way to wait for more."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.states: list[WatchState] = []
        self._news = asyncio.Event()

    def deliver(self, event: Event[Any]) -> None:
        match event:
            case Upserted(item):
                self.events.append(f"+{item.metadata.name}")
            case Removed(item):
                self.events.append(f"-{item.metadata.name}")
            case Synced():
                self.events.append("synced")
        self._news.set()

    def report(self, state: WatchState) -> None:
        self.states.append(state)
        self._news.set()

    async def until(self, *events: str) -> None:
        async with asyncio.timeout(5):
            while self.events != list(events):
                self._news.clear()
                await self._news.wait()

    async def until_phase(self, phase: Phase) -> WatchState:
        async with asyncio.timeout(5):
            while not self.states or self.states[-1].phase is not phase:
                self._news.clear()
                await self._news.wait()
        return self.states[-1]


@asynccontextmanager
async def watching(kind: Kind[Any]) -> AsyncGenerator[tuple[FakeApi, Client, Heard]]:
    heard = Heard()
    async with (
        running_fake_api(SERVICE, POD) as api,
        running_client(api.access) as client,
        task_scope() as scope,
    ):
        api.put(kind, named("a"))
        api.put(kind, named("b"))
        scope.serve(watch_kind(client, kind, heard.deliver, report=heard.report), name="watch")
        await heard.until("+a", "+b", "synced")
        await api.watched(1)
        yield api, client, heard


def named(name: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, **fields}


async def test_changes_are_delivered_as_they_happen() -> None:
    async with watching(SERVICE) as (api, _, heard):
        heard.events.clear()
        api.put(SERVICE, named("c"))
        api.put(SERVICE, named("a", spec={"type": "LoadBalancer"}))
        api.remove(SERVICE, "b", "default")
        await heard.until("+c", "+a", "-b")


async def test_a_severed_watch_resumes_without_a_new_list() -> None:
    async with watching(SERVICE) as (api, _, heard):
        heard.events.clear()
        api.requests.clear()
        api.sever_watches()
        api.put(SERVICE, named("c"))
        await heard.until("+c")
        probe, *rest = [request.query for request in api.requests]
        assert probe["limit"] == "1"
        assert ["watch" in query for query in rest] == [True]


async def test_a_compacted_history_leads_to_a_list_that_tells_only_differences() -> None:
    async with watching(SERVICE) as (api, _, heard):
        heard.events.clear()
        api.sever_watches()
        await api.watched(0)
        api.put(SERVICE, named("c"))
        api.remove(SERVICE, "a", "default")
        api.compact()
        await heard.until("+c", "-a")


async def test_a_failing_server_is_reported_and_tried_again() -> None:
    async with watching(SERVICE) as (api, _, heard):
        answers = [status(500, "InternalError", "etcd is away"), status(403, "Forbidden", "no")]

        async def fail(_: Any) -> Any:
            return answers.pop() if answers else None

        api.intercept = fail
        api.sever_watches()
        await heard.until_phase(Phase.FAILED)
        state = await heard.until_phase(Phase.SYNCED)
        assert state.current_at > 0
        assert not answers
