"""Running clusters over servers in memory, in virtual time, for the tests of this room."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps

from isthmus.clusters.api import Connect
from isthmus.clusters.health import State
from isthmus.clusters.registry import Clusters, running_clusters
from isthmus.clusters.status import ClusterStatus
from isthmus.config.mesh import StaleEndpoints
from isthmus.kube.errors import Unreachable
from isthmus.model.service import ClusterId
from isthmus.model.view import Changes
from tests.clusters.building import ECHO
from tests.clusters.fake_world import CONTROL, World, fill
from tests.support.virtual_time import run_in_virtual_time


@dataclass
class Mesh:
    """A running control plane's clusters, and every change that they told."""

    world: World
    clusters: Clusters
    told: list[Changes] = field(default_factory=list[Changes])

    def addresses(self) -> list[str]:
        return [e.address for e in self.clusters.view.endpoints(ECHO).get(80, ())]

    def status(self, name: str) -> ClusterStatus:
        (found,) = [each for each in self.clusters.status() if each.name == name]
        return found

    def states(self) -> dict[str, State]:
        return {each.name: each.state for each in self.clusters.status()}


@asynccontextmanager
async def running_mesh(
    world: World,
    stale: StaleEndpoints | None = None,
    *,
    heal: bool = True,
    wall: Callable[[], float] = time.time,
    connect: Connect | None = None,
) -> AsyncGenerator[Mesh]:
    async with running_clusters(
        world.local,
        cluster_id=ClusterId("home"),
        namespace=CONTROL,
        networks={},
        stale=stale or StaleEndpoints(),
        heal=heal,
        connect=connect or world.connect,
        wall=wall,
    ) as clusters:
        mesh = Mesh(world, clusters)
        with clusters.view.subscribe(mesh.told.append):
            yield mesh


def in_virtual_time(scenario: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @wraps(scenario)
    def run() -> None:
        async def whole() -> None:
            await scenario()

        run_in_virtual_time(whole())

    # pytest would take the wrapped coroutine function's asyncness for ours.
    del run.__wrapped__  # pyright: ignore[reportAttributeAccessIssue,reportFunctionMemberAccess]
    return run


def world_of(*names: str) -> World:
    world = World(*names)
    for index, name in enumerate(("home", *names)):
        fill(world[name], (f"{name}-pod", f"10.{index}.0.1"))
    return world


async def lose(world: World, name: str, seconds: float) -> None:
    world[name].problem = Unreachable("connection refused")
    world[name].interrupt()
    await asyncio.sleep(seconds)


async def regain(world: World, name: str, seconds: float) -> None:
    world[name].problem = None
    world[name].interrupt()
    await asyncio.sleep(seconds)


HOME, EAST, NORTH = "10.0.0.1", "10.1.0.1", "10.2.0.1"
