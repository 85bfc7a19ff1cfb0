"""What a replica that starts knows of a cluster that it cannot read, and how old it may be: virtual time."""

import asyncio

from isthmus.clusters.health import State
from isthmus.kube.errors import Unreachable
from tests.clusters.building import ECHO
from tests.clusters.fake_world import put_slice
from tests.clusters.running import EAST, HOME, NORTH, in_virtual_time, regain, running_mesh, world_of

NEW = "10.1.0.9"


@in_virtual_time
async def test_a_control_plane_that_restarts_beside_a_dead_remote_serves_it_as_last_known():
    world = world_of("east", "north")
    world.put_secret("s", east=world.kubeconfig("east"), north=world.kubeconfig("north"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(100)
        before = mesh.clusters.view.endpoints(ECHO)
        assert not mesh.clusters.timeouts
    world["east"].hangs = True
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert mesh.clusters.timeouts == {"east": 1}
        assert mesh.clusters.view.endpoints(ECHO) == before, "never less than was given"
        status = mesh.status("east")
        assert (status.state, status.served) == (State.STALE, True)
        assert "served as last known" in status.reason
        mesh.told.clear()
        world["east"].hangs = False
        await asyncio.sleep(60)
        assert (mesh.status("east").state, mesh.told) == (State.FRESH, [])
        put_slice(world["east"], ("east-pod", "10.1.0.9"))
        assert mesh.addresses() == ["10.1.0.9", HOME, NORTH]


@in_virtual_time
async def test_what_changed_while_the_control_plane_was_away_takes_over_from_the_last_known_state():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(100)
    world["east"].problem = Unreachable("connection refused")
    put_slice(world["east"], ("east-pod", "10.1.0.9"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert mesh.addresses() == [EAST, HOME]
        mesh.told.clear()
        await regain(world, "east", 60)
        assert mesh.addresses() == ["10.1.0.9", HOME]
        assert len(mesh.told) == 1


@in_virtual_time
async def test_a_last_known_state_is_not_for_another_server_nor_for_a_removed_cluster():
    world = world_of("east", "north")
    world.put_secret("s", east=world.kubeconfig("east"), north=world.kubeconfig("north"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(100)
        world.put_secret("s", east=world.kubeconfig("east"))
        await asyncio.sleep(100)
    kept = [name for name, body in world["home"].written.items() if body["plural"] == "configmaps"]
    assert len(kept) == 1, "north is forgotten"
    world["north"].problem = Unreachable("connection refused")
    world.put_secret("s", east=world.kubeconfig("north"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert mesh.addresses() == [HOME]


@in_virtual_time
async def test_replicas_write_equal_states_once_and_do_not_fight():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as one, running_mesh(world) as other:
        await one.clusters.settled()
        await other.clusters.settled()
        await asyncio.sleep(600)
        first = world["home"].writes
        put_slice(world["east"], ("east-pod", "10.1.0.9"))
        await asyncio.sleep(600)
        assert first == 1
        assert 1 <= world["home"].writes - first <= 2
        assert one.status("home").remarks == other.status("home").remarks == ()


@in_virtual_time
async def test_a_damaged_state_is_refused_and_a_missing_right_disables_just_this():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(100)
    (kept,) = world["home"].written.values()
    kept["data"] = {"state": kept["data"]["state"][:-40]}
    world["east"].problem = Unreachable("connection refused")
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert (mesh.addresses(), mesh.status("east").state) == ([HOME], State.UNREACHABLE)
    world["home"].forbidden = {"configmaps"}
    world["east"].problem = None
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert mesh.addresses() == [EAST, HOME]
        assert "last-known states of clusters cannot be kept" in mesh.status("home").remarks[0]


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
