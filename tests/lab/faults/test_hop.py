"""What a hop answers, as the client of an API server meets it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from isthmus.kube.access import Access
from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import CONFIG_MAP
from isthmus.kube.objects import ConfigMap
from isthmus.kube.watch import Event, Phase, Upserted, WatchState, watch_kind
from isthmus.lab import pki
from isthmus.lab.apiserver.server import RunningServer, running_api_server
from isthmus.lab.faults.hop import Hop, running_hop
from isthmus.lab.faults.kinds import HOP_FAULTS, Fault
from isthmus.lib.lifecycle import task_scope


@dataclass(frozen=True)
class Front:
    """A server, its hop, and an administrator's clients of both."""

    server: RunningServer
    hop: Hop
    direct: Client
    through: Client

    async def put(self, name: str) -> None:
        await self.direct.create(CONFIG_MAP, {"metadata": {"name": name}}, "default")


@asynccontextmanager
async def front() -> AsyncGenerator[Front]:
    async with (
        running_api_server() as server,
        running_hop(server.url, server.files) as hop,
        running_client(server.access()) as direct,
        running_client(pki.access(server.files, pki.ADMIN, server=hop.url)) as through,
    ):
        yield Front(server, hop, direct, through)


@dataclass
class Watch:
    """What a watch has brought, and how it stands."""

    names: list[str] = field(default_factory=list[str])
    states: list[WatchState] = field(default_factory=list[WatchState])

    def deliver(self, event: Event[ConfigMap]) -> None:
        if isinstance(event, Upserted):
            self.names.append(event.object.metadata.name)

    async def until(self, name: str) -> None:
        async with asyncio.timeout(20):
            while name not in self.names:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)

    async def phase(self, phase: Phase) -> WatchState:
        async with asyncio.timeout(20):
            while not self.states or self.states[-1].phase is not phase:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return self.states[-1]


@asynccontextmanager
async def watching(client: Client) -> AsyncGenerator[Watch]:
    watch = Watch()
    async with task_scope() as scope:
        work = watch_kind(client, CONFIG_MAP, watch.deliver, namespace="default", report=watch.states.append)
        scope.serve(work, name="watch")
        await watch.phase(Phase.SYNCED)
        yield watch


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.API_HANG, "did not answer within 1 s"),
        (Fault.API_SLOW, "did not answer within 1 s"),
        (Fault.API_CUT, "broke off"),
        (Fault.API_401, "401 Unauthorized"),
        (Fault.API_403, "403 Forbidden"),
        (Fault.API_429, "429 TooManyRequests"),
        (Fault.API_500, "500 InternalError"),
        (Fault.API_HTML, "no Kubernetes list"),
        (Fault.API_GZIP, "no Kubernetes list"),
        (Fault.API_ENDLESS, "did not answer within 1 s"),
    ],
)
async def test_every_fault_is_met_as_what_it_is_and_is_over_when_healed(fault: Fault, words: str) -> None:
    async with front() as there:
        before = await there.through.list(CONFIG_MAP, "default")
        there.hop.suffer(fault)
        there.hop.sever()
        # Only who expects no answer is impatient: a busy machine may take a second for any.
        access = pki.access(there.server.files, pki.ADMIN, server=there.hop.url)
        async with running_client(access, timeout=1 if "within 1 s" in words else 30) as client:
            with pytest.raises((ApiError, Unreachable), match=words):
                await client.list(CONFIG_MAP, "default")
        there.hop.heal()
        assert await there.through.list(CONFIG_MAP, "default") == before


async def test_a_watch_that_stalls_delivers_what_it_held_back_when_it_goes_on() -> None:
    async with front() as there, watching(there.through) as watch:
        there.hop.suffer(Fault.WATCH_STALL)
        await there.put("late")
        listed = await there.through.list(CONFIG_MAP, "default")
        assert "late" in [each.metadata.name for each in listed.items]
        assert "late" not in watch.names
        there.hop.heal()
        await watch.until("late")
        assert not any(state.phase is Phase.FAILED for state in watch.states)


async def test_a_watch_line_that_is_cut_in_the_middle_is_followed_by_the_whole_one() -> None:
    async with front() as there, watching(there.through) as watch:
        there.hop.suffer(Fault.API_CUT)
        there.hop.sever()
        await there.put("halved")
        assert "broke" in str((await watch.phase(Phase.FAILED)).error)
        there.hop.heal()
        await watch.until("halved")
        assert watch.names.count("halved") == 1


async def test_an_expired_version_is_answered_410_while_lists_are_true() -> None:
    async with front() as there, watching(there.through) as watch:
        there.hop.suffer(Fault.API_410)
        there.hop.sever()
        await there.put("new")
        await watch.until("new")


async def test_rights_are_those_of_the_one_who_asks_by_certificate_or_by_token() -> None:
    nobody = pki.Identity("somebody", ("people",))
    async with front() as there:
        access = pki.access(there.server.files, nobody, server=there.hop.url)
        async with running_client(access) as client:
            with pytest.raises(ApiError, match='"somebody" cannot list'):
                await client.list(CONFIG_MAP, "default")
        bad = Access(there.hop.url, ca_pem=there.server.files.ca_cert.read_bytes(), token="not a token")
        async with running_client(bad) as client:
            with pytest.raises(ApiError, match="401"):
                await client.list(CONFIG_MAP, "default")


async def test_a_hop_in_front_of_nobody_breaks_the_connection() -> None:
    async with front() as there:
        there.hop.upstream = "https://127.0.0.1:1"
        with pytest.raises(Unreachable):
            await there.through.list(CONFIG_MAP, "default")


async def test_a_fault_that_is_no_hops_is_refused() -> None:
    async with front() as there:
        with pytest.raises(ValueError, match="partition"):
            there.hop.suffer(Fault.PARTITION)
        for fault in HOP_FAULTS:
            there.hop.suffer(fault)
