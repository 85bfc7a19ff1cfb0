"""What the endpoints of stale clusters are worth, as clusters come and go; in virtual time."""

import asyncio

from isthmus.clusters.health import State
from isthmus.clusters.standing import Standing
from isthmus.config.durations import Duration
from isthmus.config.mesh import StaleEndpoints, StalePolicy
from isthmus.model.view import Changes
from tests.clusters.building import ECHO
from tests.clusters.running import EAST, HOME, Mesh, in_virtual_time, lose, regain, running_mesh, world_of


def priorities(mesh: Mesh) -> dict[str, int]:
    return {e.address: e.priority for e in mesh.clusters.view.endpoints(ECHO).get(80, ())}


@in_virtual_time
async def test_endpoints_of_a_cluster_that_stays_stale_serve_after_others_until_it_is_surely_back():
    world = world_of("east")
    stale = StaleEndpoints(StalePolicy.DEPRIORITISE, Duration(minutes=5), Duration(seconds=30))
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world, stale) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        await lose(world, "east", 295)
        assert (priorities(mesh), mesh.told) == ({EAST: 0, HOME: 0}, [])
        await asyncio.sleep(10)
        assert priorities(mesh) == {EAST: 1, HOME: 0}
        assert mesh.told == [Changes(endpoints=frozenset({ECHO}))]
        assert mesh.status("east").standing is Standing.SECOND
        await regain(world, "east", 20)
        assert (mesh.status("east").state, len(mesh.told)) == (State.FRESH, 1)
        await asyncio.sleep(15)
        assert (priorities(mesh), len(mesh.told)) == ({EAST: 0, HOME: 0}, 2)


@in_virtual_time
async def test_a_secrets_annotation_lets_its_clusters_endpoints_expire_and_come_back():
    world = world_of("east")
    annotations = {"isthmus.dev/stale-endpoints": "expire", "isthmus.dev/stale-after": "1m"}
    world.put_secret("s", annotations=annotations, east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await lose(world, "east", 70)
        assert mesh.addresses() == [HOME]
        world.put_secret("s", annotations={}, east=world.kubeconfig("east"))
        await asyncio.sleep(0.1)
        assert mesh.addresses() == [EAST, HOME], "the mesh config's word counts again"
        world.put_secret("s", annotations=annotations, east=world.kubeconfig("east"))
        await regain(world, "east", 40)
        assert mesh.addresses() == [EAST, HOME]


@in_virtual_time
async def test_a_flapping_cluster_does_not_flap_the_mesh_and_a_wrong_annotation_is_named():
    world = world_of("east")
    annotations = {"isthmus.dev/stale-endpoints": "deprioritise", "isthmus.dev/stale-after": "2"}
    world.put_secret("s", annotations=annotations, east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert "isthmus.dev/stale-after" in mesh.status("east").remarks[0]
        mesh.told.clear()
        for _ in range(60):
            await lose(world, "east", 10)
            await regain(world, "east", 10)
        assert len(mesh.told) == 1
        assert priorities(mesh) == {EAST: 1, HOME: 0}


@in_virtual_time
async def test_the_own_clusters_endpoints_never_lose_their_standing():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world, StaleEndpoints(StalePolicy.EXPIRE)) as mesh:
        await mesh.clusters.settled()
        await lose(world, "home", 3600)
        assert mesh.addresses() == [EAST, HOME]
