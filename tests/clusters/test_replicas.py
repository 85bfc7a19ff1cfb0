"""Replicas of the control plane that do not see the same clusters serve the same endpoints all the same."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from isthmus.clusters.api import Api
from isthmus.clusters.health import State
from isthmus.kube.access import Access
from isthmus.kube.errors import Unreachable
from isthmus.kube.kinds import CONFIG_MAP
from isthmus.model.view import Changes
from tests.clusters.fake_world import FakeServer, World, put_slice
from tests.clusters.running import EAST, HOME, Mesh, in_virtual_time, running_mesh, world_of

FOLLOWS_WITHIN = 2 * 12.5 + 2
"""Seconds: the one writes what has changed, then the other looks, each at most every 12.5 s."""


class Link(FakeServer):
    """A server as one replica sees it, who may be cut off from it while others are not."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self.is_cut = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._server, name)

    async def answer(self, token: str | None, plural: str) -> None:
        if self.is_cut:
            raise Unreachable("no route to host")
        await self._server.answer(token, plural)

    def cut(self, *, off: bool) -> None:
        self.is_cut = off
        self._server.interrupt()


@dataclass
class Elsewhere:
    """The same world, with one replica's links to its remotes."""

    world: World
    links: dict[str, Link]

    @asynccontextmanager
    async def connect(self, access: Access) -> AsyncGenerator[Api]:
        seen = World()
        seen.servers = {**self.world.servers, **self.links}
        async with seen.connect(access) as api:
            yield api


def elsewhere(world: World) -> Elsewhere:
    return Elsewhere(world, {"east": Link(world["east"])})


def of_east(mesh: Mesh) -> list[str]:
    return [address for address in mesh.addresses() if address.startswith("10.1.")]


@asynccontextmanager
async def never_without(mesh: Mesh) -> AsyncGenerator[None]:
    """What it tells its proxies of east is never nothing."""
    emptied: list[Changes] = []

    def look(changes: Changes) -> None:
        if not of_east(mesh):
            emptied.append(changes)

    with mesh.clusters.view.subscribe(look):
        yield
    assert emptied == []


@in_virtual_time
async def test_a_replica_that_alone_loses_a_cluster_follows_what_another_knows_of_it():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    here, there = elsewhere(world), elsewhere(world)
    async with running_mesh(world, connect=here.connect) as one:
        async with running_mesh(world, connect=there.connect) as other:
            await one.clusters.settled()
            await other.clusters.settled()
            await asyncio.sleep(20)
            async with never_without(one), never_without(other):
                there.links["east"].cut(off=True)
                for address in ("10.1.0.7", "10.1.0.8"):
                    put_slice(world["east"], ("east-pod", address))
                    assert of_east(one) == [address]
                    await asyncio.sleep(FOLLOWS_WITHIN)
                    assert of_east(other) == [address]
                status = other.status("east")
                assert (one.status("east").state, status.state) == (State.FRESH, State.STALE)
                assert "no route to host" in status.reason
                # Now the other way round: who knows it better is whoever has had it longer.
                there.links["east"].cut(off=False)
                await asyncio.sleep(35)
                assert other.status("east").state is State.FRESH
                here.links["east"].cut(off=True)
                put_slice(world["east"], ("east-pod", "10.1.0.9"))
                assert of_east(other) == ["10.1.0.9"]
                await asyncio.sleep(FOLLOWS_WITHIN)
                assert of_east(one) == ["10.1.0.9"]
                # Both have lost it, one long after the other, whose farewell must not undo what is known.
                there.links["east"].cut(off=True)
        assert one.status("east").state is State.STALE
    async with running_mesh(world, connect=here.connect) as restarted:
        await restarted.clusters.settled()
        assert of_east(restarted) == ["10.1.0.9"]


@in_virtual_time
async def test_a_replica_that_starts_without_a_cluster_has_what_changed_the_moment_before_it_was_lost():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as one:
        await one.clusters.settled()
        await asyncio.sleep(60)
        put_slice(world["east"], ("east-pod", "10.1.0.7"))
        world["east"].problem = Unreachable("connection refused")
        world["east"].interrupt()
        await asyncio.sleep(2)
        async with running_mesh(world) as other:
            await other.clusters.settled()
            assert other.addresses() == one.addresses() == ["10.1.0.7", HOME]


@in_virtual_time
async def test_a_state_that_is_older_than_what_is_held_or_anothers_is_not_followed():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(20)
        (name,) = [name for name in world["home"].written if "last-known" in name]
        old = world["home"].written[name]
        put_slice(world["east"], ("east-pod", "10.1.0.7"))
        await asyncio.sleep(20)
        world["east"].hangs = True
        world["east"].interrupt()
        await asyncio.sleep(40)
        assert mesh.status("east").state is State.STALE
        world["home"].write(
            CONFIG_MAP, name, old | {"metadata": {"annotations": old["metadata"]["annotations"]}}, new=False
        )
        await asyncio.sleep(40)
        assert of_east(mesh) == ["10.1.0.7"] != [EAST]
