"""Two replicas and one Lease, in virtual time: never two leaders, and always one again."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

import pytest

from isthmus.kube.client import running_client
from isthmus.kube.election import Election, LeaseApi, running_election
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import LEASE, Kind
from isthmus.kube.lease import Held, Make, Seen, Terms, Write, decide
from isthmus.kube.objects import Lease, LeaseSpec, Metadata
from isthmus.lab.apiserver.server import running_api_server
from tests.clusters.fake_world import World
from tests.support.virtual_time import run_in_virtual_time

T = TypeVar("T")
SYSTEM, NAME = "istio-system", "istio-pilot"


class Link:
    """One replica's way to the API server, which can be cut, be forbidden, or swallow what is sent."""

    def __init__(self, api: LeaseApi) -> None:
        self._api = api
        self.trouble: Exception | None = None
        self.hangs = False

    async def _pass(self) -> None:
        if self.hangs:
            await asyncio.sleep(3600)
        if self.trouble is not None:
            raise self.trouble

    async def get(self, kind: Kind[T], name: str, namespace: str) -> T:
        await self._pass()
        return await self._api.get(kind, name, namespace)

    async def create(self, kind: Kind[Any], body: Mapping[str, Any], namespace: str) -> Any:
        await self._pass()
        return await self._api.create(kind, body, namespace)

    async def patch(self, kind: Kind[Any], name: str, patch: Mapping[str, Any], namespace: str) -> Any:
        await self._pass()
        return await self._api.patch(kind, name, patch, namespace)


class Work:
    """What is led. Two of it at once are the fault that an election must prevent."""

    def __init__(self) -> None:
        self.doing: list[str] = []
        self.begun: list[str] = []

    async def lead(self, who: str) -> NoReturn:
        self.doing.append(who)
        self.begun.append(who)
        try:
            while True:
                assert self.doing == [who]
                await asyncio.sleep(0.1)
        finally:
            self.doing.remove(who)


@asynccontextmanager
async def taking_part(
    world: World, work: Work, who: str, wall: float = 1.8e9
) -> AsyncGenerator[tuple[Link, Election]]:
    clock = asyncio.get_running_loop().time
    async with world.connect(world.local) as api:
        link = Link(api)
        async with running_election(
            link,
            lambda: work.lead(who),
            namespace=SYSTEM,
            name=NAME,
            identity=who,
            wall=lambda: wall + clock(),
        ) as election:
            yield link, election


def test_one_leads_and_another_follows_at_once_when_it_stops():
    async def scenario() -> None:
        world, work = World(), Work()
        async with taking_part(world, work, "b") as (_, second):
            async with taking_part(world, work, "a") as (_, first):
                await asyncio.sleep(60)
                assert (second.leading, first.leading, first.leader) == (True, False, "b")
                assert work.begun == ["b"]
            await asyncio.sleep(60)
        lease = world["home"].written[NAME]
        assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("", 0)
        async with taking_part(world, work, "c"):
            await asyncio.sleep(0.1)
            assert work.doing == ["c"]
        assert lease != world["home"].written[NAME]
        assert world["home"].written[NAME]["spec"]["leaseTransitions"] == 1
        assert work.doing == []

    run_in_virtual_time(scenario())


@pytest.mark.parametrize("trouble", ["cut", "hangs"])
def test_a_leader_that_is_cut_off_stops_before_another_begins_and_leads_again_in_its_turn(trouble: str):
    async def scenario() -> None:
        world, work = World(), Work()
        async with taking_part(world, work, "a") as (link, first):
            await asyncio.sleep(1)
            async with taking_part(world, work, "b") as (other, second):
                await asyncio.sleep(30)
                link.hangs, link.trouble = trouble == "hangs", Unreachable("no route")
                await asyncio.sleep(12)
                assert (work.doing, first.leading) == ([], False)
                await asyncio.sleep(10)
                assert (work.doing, second.leading) == (["b"], True)
                assert "no" in first.refusal
                link.hangs, link.trouble = False, None
                await asyncio.sleep(30)
                assert (work.doing, first.leader, first.refusal) == (["b"], "b", "")
                other.trouble = Unreachable("no route")
                await asyncio.sleep(30)
                assert work.begun == ["a", "b", "a"]

    run_in_virtual_time(scenario())


def test_a_short_loss_of_the_api_server_changes_no_leader():
    async def scenario() -> None:
        world, work = World(), Work()
        async with taking_part(world, work, "a"), taking_part(world, work, "b"):
            await asyncio.sleep(30)
            for _ in range(20):
                world["home"].problem = ApiError(500, "InternalError", "")
                await asyncio.sleep(6)
                world["home"].problem = None
                await asyncio.sleep(6)
            assert len(work.begun) == 1

    run_in_virtual_time(scenario())


@pytest.mark.parametrize("skew", [-86400.0, -20.0, 20.0, 86400.0])
def test_clocks_that_disagree_change_nothing(skew: float):
    async def scenario() -> None:
        world, work = World(), Work()
        async with taking_part(world, work, "a"):
            await asyncio.sleep(1)
            async with taking_part(world, work, "b", 1.8e9 + skew) as (_, second):
                await asyncio.sleep(300)
                assert (work.begun, second.leader) == (["a"], "a")
        # An earlier life's Lease, with nobody behind it, from a clock that goes wrong.
        world["home"].written[NAME]["spec"] |= {
            "holderIdentity": "dead",
            "leaseDurationSeconds": 15,
            "renewTime": "2199-01-01T00:00:00.000000Z",
        }
        async with taking_part(world, work, "c", 1.8e9 + skew):
            await asyncio.sleep(14)
            assert work.doing == []
            await asyncio.sleep(10)
            assert work.doing == ["c"]

    run_in_virtual_time(scenario())


def test_a_lease_that_somebody_deletes_or_gives_away_is_heeded():
    async def scenario() -> None:
        world, work = World(), Work()
        async with taking_part(world, work, "a") as (_, election):
            await asyncio.sleep(10)
            del world["home"].written[NAME]
            await asyncio.sleep(10)
            assert work.begun == ["a"]
            lease = world["home"].written[NAME]
            lease["spec"]["holderIdentity"] = "operator"
            lease["metadata"]["resourceVersion"] = "given-away"
            await asyncio.sleep(5)
            assert (work.doing, election.leader) == ([], "operator")
            await asyncio.sleep(30)
            assert work.begun == ["a", "a"]

    run_in_virtual_time(scenario())


def test_without_the_right_nobody_leads_and_the_refusal_names_it_until_it_is_granted():
    async def scenario() -> None:
        world, work = World(), Work()
        async with taking_part(world, work, "a") as (link, election):
            link.trouble = ApiError(403, "Forbidden", "cannot get leases")
            await asyncio.sleep(100)
            assert work.begun == []
            assert f"Lease {SYSTEM}/{NAME}" in election.refusal
            assert "cannot get leases" in election.refusal
            link.trouble = None
            await asyncio.sleep(40)
            assert (work.doing, election.refusal) == (["a"], "")

    run_in_virtual_time(scenario())


def test_an_error_of_the_work_ends_the_component_and_frees_the_lease():
    async def scenario() -> None:
        world = World()

        async def fail() -> NoReturn:
            raise ZeroDivisionError

        async with world.connect(world.local) as api:
            with pytest.raises(ZeroDivisionError):
                async with running_election(api, fail, namespace=SYSTEM, name=NAME):
                    await asyncio.sleep(60)
        assert world["home"].written[NAME]["spec"]["holderIdentity"] == ""

    run_in_virtual_time(scenario())


def test_the_decision_is_a_function_of_what_was_seen():
    terms = Terms()

    def seen(holder: str, since: float) -> Seen:
        spec = LeaseSpec(holder, 15, "", "", 3)
        return Seen(Lease(Metadata(name=NAME, resource_version="7"), spec), since)

    def move(what: Seen) -> object:
        return decide(what, "me", NAME, terms=terms, now=100.0, wall=0.5)

    assert isinstance(move(Seen(None, 0)), Make)
    assert move(seen("other", 90.0)) == Held("other", 105.0)
    assert move(seen("other", 85.0)) == move(seen("", 100.0))
    taken = move(seen("other", 80.0))
    assert isinstance(taken, Write)
    assert taken.patch == {
        "metadata": {"resourceVersion": "7"},
        "spec": {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "renewTime": "1970-01-01T00:00:00.500000Z",
            "acquireTime": "1970-01-01T00:00:00.500000Z",
            "leaseTransitions": 4,
        },
    }
    renewed = move(seen("me", 0.0))
    assert isinstance(renewed, Write)
    assert set(renewed.patch["spec"]) == {"holderIdentity", "leaseDurationSeconds", "renewTime"}


async def test_an_api_server_takes_what_is_written():
    terms = Terms(duration=3, deadline=2, retry=0.02)
    async with running_api_server() as server, running_client(server.access()) as client:
        work = Work()
        for who in "abc":
            async with running_election(
                client, lambda who=who: work.lead(who), namespace="default", name=NAME, terms=terms
            ) as election:
                renewals = set[str]()
                async with asyncio.timeout(20):
                    while len(renewals) < 3:
                        await asyncio.sleep(0.01)
                        if election.leading:
                            renewals.add((await client.get(LEASE, NAME, "default")).spec.renew_time)
                assert election.leading
                held = await client.get(LEASE, NAME, "default")
                assert held.spec.holder_identity == election.leader == election.identity
        assert work.begun == ["a", "b", "c"]
        freed = (await client.get(LEASE, NAME, "default")).spec
        assert (freed.holder_identity, freed.lease_transitions) == ("", 2)
