"""Policies that come from an API server, and their status."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from isthmus.config.policy import PolicyRef
from isthmus.kube.client import running_client
from isthmus.lib.lifecycle import task_scope
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.watching import POLICIES, PolicyWatch
from tests.kube.fake_api import FakeApi, running_fake_api, status
from tests.policy.building import ROOT, Json, denies, policy

GUARD = PolicyRef("demo", "guard")


@dataclass(slots=True)
class Watched:
    """A rulebook that follows an API server, and the statuses that were written there."""

    api: FakeApi
    book: Rulebook
    watch: PolicyWatch
    news: asyncio.Event
    missing: bool = False
    written: list[Json] = field(default_factory=list[Json])

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def watching() -> AsyncGenerator[Watched]:
    book, news = Rulebook(root_namespace=ROOT), asyncio.Event()
    async with running_fake_api(POLICIES) as api, running_client(api.access) as client, task_scope() as tasks:
        watched = Watched(api, book, PolicyWatch(client, book, news.set), news)

        async def intercept(request: web.Request) -> web.Response | None:
            if request.method == "PATCH":
                watched.written.append(await request.json())
                news.set()
                return web.json_response({"metadata": {"name": "guard"}})
            return status(404, "NotFound") if watched.missing else None

        api.intercept = intercept
        tasks.serve(watched.watch.run(), name="watch")
        yield watched


async def test_policies_come_change_and_go_and_each_is_told_what_became_of_it() -> None:
    async with watching() as watched:
        await watched.watch.settled.wait()
        good = policy(denies("connection.mtls"))
        good["metadata"]["generation"] = 1
        watched.api.put(POLICIES, good)
        await watched.until(lambda: len(watched.written) == 1)
        bad = policy(denies("nonsense"))
        bad["metadata"]["generation"] = 2
        watched.api.put(POLICIES, bad)
        await watched.until(lambda: len(watched.written) == 2)
        assert [one["status"] for one in watched.written] == [
            {"accepted": True, "observedGeneration": 1, "reason": ""},
            {
                "accepted": False,
                "observedGeneration": 2,
                "reason": "spec.rules[0].when: 1:1: undeclared reference to 'nonsense'",
            },
        ]
        assert (list(watched.book.rejected), len(watched.book.policies())) == ([GUARD], 1)
        watched.api.remove(POLICIES, "guard", "demo")
        await watched.until(lambda: not watched.book.policies())
        assert not watched.book.rejected


async def test_a_missing_definition_is_no_crash_and_policies_are_picked_up_when_it_is_there() -> None:
    async with watching() as watched:
        watched.missing = True
        await watched.watch.settled.wait()
        watched.api.put(POLICIES, policy(denies("true")))
        assert not watched.book.policies()
        watched.missing = False
        await watched.until(lambda: bool(watched.book.policies()))


async def test_a_status_that_is_already_there_is_not_written_again() -> None:
    async with watching() as watched:
        told = policy(denies("connection.mtls"))
        told["metadata"]["generation"] = 4
        told["status"] = {"accepted": True, "observedGeneration": 4, "reason": ""}
        watched.api.put(POLICIES, told)
        watched.api.put(POLICIES, policy(denies("true"), name="other"))
        await watched.until(lambda: len(watched.written) == 1)
        assert len(watched.book.policies()) == 2
