"""How old a last-known state may be: seconds, and none at all after a farewell."""

import asyncio

from tests.clusters.fake_world import put_slice
from tests.clusters.running import in_virtual_time, running_mesh, world_of

NEW = "10.1.0.9"


@in_virtual_time
async def test_a_control_plane_that_is_asked_to_end_keeps_what_changed_the_moment_before():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await asyncio.sleep(30)
        put_slice(world["east"], ("east-pod", NEW))
        assert NEW in mesh.addresses()
    world["east"].hangs = True
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert NEW in mesh.addresses()


@in_virtual_time
async def test_one_that_is_killed_has_lost_a_quarter_of_a_minute_at_most():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await asyncio.sleep(4.5)
        first = dict(world["home"].written)
        assert any("last-known" in name for name in first), "it is kept as soon as it was read"
        await asyncio.sleep(100)
        put_slice(world["east"], ("east-pod", NEW))
        await asyncio.sleep(13)
        killed = dict(world["home"].written)
        assert NEW in mesh.addresses()
    world["home"].written = killed  # without its farewell
    world["east"].hangs = True
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert NEW in mesh.addresses()


@in_virtual_time
async def test_a_farewell_does_not_wait_for_an_api_server_that_is_gone():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    clock = asyncio.get_running_loop().time
    async with running_mesh(world):
        await asyncio.sleep(30)
        put_slice(world["east"], ("east-pod", NEW))
        world["home"].hangs = True
        ends = clock()
    assert clock() - ends < 3
