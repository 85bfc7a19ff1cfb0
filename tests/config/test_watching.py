"""Configuration that comes from an API server: good versions, bad ones, and definitions that come late."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from isthmus.config.peer_authentication import PEER_AUTHENTICATION, Mode, PeerAuthentication
from isthmus.config.policy import POLICY
from isthmus.config.store import ConfigStore
from isthmus.config.watching import ConfigWatch, watching_config
from isthmus.kube.client import running_client
from isthmus.kube.decoding import Ref
from tests.kube.fake_api import FakeApi, running_fake_api, status

SOURCE = PEER_AUTHENTICATION.source
DEFAULT = Ref("demo", "default")


@dataclass(slots=True)
class Watched:
    """A store that follows an API server, and what it told of."""

    api: FakeApi
    store: ConfigStore[PeerAuthentication]
    told: list[Ref] = field(default_factory=list[Ref])
    refused_with: int = 0

    def put(self, mode: str) -> None:
        self.api.put(SOURCE, {"metadata": DEFAULT._asdict(), "spec": {"mtls": {"mode": mode}}})

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 - a refusal is told to nobody
                await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(refused_with: int = 0) -> AsyncGenerator[tuple[Watched, ConfigWatch]]:
    store = ConfigStore(PEER_AUTHENTICATION)
    async with running_fake_api(SOURCE, POLICY.source) as api, running_client(api.access) as client:
        watched = Watched(api, store, refused_with=refused_with)

        async def intercept(_: web.Request) -> web.Response | None:
            return status(watched.refused_with, "Refused") if watched.refused_with else None

        api.intercept = intercept
        policies = ConfigStore(POLICY)
        with store.subscribe(watched.told.append):
            async with watching_config(client, store, policies) as (watch, _):
                yield watched, watch


async def test_objects_come_change_and_go_and_each_difference_is_told_by_name() -> None:
    async with watching() as (watched, watch):
        await watch.settled.wait()
        watched.put("STRICT")
        await watched.until(lambda: watched.told == [DEFAULT])
        found = watched.store.get(DEFAULT)
        assert found is not None
        assert found.mode is Mode.STRICT
        watched.put("STRICT")  # Only its resource version differs.
        watched.put("DISABLE")
        await watched.until(lambda: len(watched.told) == 2)
        watched.api.remove(SOURCE, *reversed(DEFAULT))
        await watched.until(lambda: len(watched.told) == 3)
        assert watched.store.all() == {}


async def test_a_bad_version_is_rejected_and_the_last_good_one_stays() -> None:
    async with watching() as (watched, _):
        watched.put("STRICT")
        await watched.until(lambda: bool(watched.told))
        watched.put("NONSENSE")
        await watched.until(lambda: DEFAULT in watched.store.rejected)
        refusal = watched.store.rejected[DEFAULT]
        assert (refusal.field, refusal.reason) == ("spec.mtls.mode", "invalid enum value 'NONSENSE'")
        found = watched.store.get(DEFAULT)
        assert found is not None
        assert found.mode is Mode.STRICT
        assert watched.told == [DEFAULT]
        watched.put("PERMISSIVE")
        await watched.until(lambda: not watched.store.rejected)
        watched.put("NONSENSE")
        await watched.until(lambda: DEFAULT in watched.store.rejected)
        watched.api.remove(SOURCE, *reversed(DEFAULT))
        await watched.until(lambda: not watched.store.rejected and not watched.store.all())


async def test_without_its_definition_it_is_settled_and_objects_are_picked_up_when_it_comes() -> None:
    async with watching(refused_with=404) as (watched, watch):
        await watch.settled.wait()
        assert watch.trouble == ""
        watched.refused_with = 0
        watched.put("STRICT")
        await watched.until(lambda: watched.told == [DEFAULT])


async def test_what_may_not_be_read_is_not_settled_and_says_so_until_it_may() -> None:
    async with watching(refused_with=403) as (watched, watch):
        await watched.until(lambda: "403" in watch.trouble)
        assert not watch.settled.is_set()
        watched.refused_with = 0
        await watch.settled.wait()
        await watched.until(lambda: watch.trouble == "")


def test_every_object_of_a_store_is_found_by_name_and_by_namespace() -> None:
    store: ConfigStore[Any] = ConfigStore(PEER_AUTHENTICATION)
    for ref in (Ref("a", "x"), Ref("a", "y"), Ref("b", "x")):
        store.apply(ref, {"metadata": ref._asdict()})
    assert set(store.within("a")) == {"x", "y"}
    store.remove(Ref("a", "x"))
    store.remove(Ref("a", "never-there"))
    assert set(store.all()) == {Ref("a", "y"), Ref("b", "x")}
    assert not store.within("c")
