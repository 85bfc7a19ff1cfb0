"""Clusters that come, rotate, fail and go: who is in the view, and when pilot is ready; in virtual time."""

import asyncio

from isthmus.clusters.claims import GRACE
from isthmus.clusters.health import State
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.model.view import Changes
from tests.clusters.building import ECHO
from tests.clusters.fake_world import put_pod, put_slice
from tests.clusters.running import EAST, HOME, NORTH, in_virtual_time, running_mesh, world_of


@in_virtual_time
async def test_a_secret_that_was_there_before_start_joins_its_cluster():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert mesh.states() == {"home": State.FRESH, "east": State.FRESH}
        assert mesh.addresses() == [EAST, HOME]
        assert all(e.workload for e in mesh.clusters.view.endpoints(ECHO)[80])


@in_virtual_time
async def test_a_secret_added_later_joins_its_cluster_as_one_change():
    world = world_of("east")
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world.put_secret("s", east=world.kubeconfig("east"))
        await asyncio.sleep(1)
        assert mesh.addresses() == [EAST, HOME]
        assert len(mesh.told) == 1
        assert mesh.told[0].services == {ECHO}


@in_virtual_time
async def test_a_removed_key_takes_its_endpoints_away_at_once_a_removed_secret_in_a_moment_and_nothing_else():
    world = world_of("east", "north")
    world.put_secret("s", east=world.kubeconfig("east"), north=world.kubeconfig("north"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world.put_secret("s", north=world.kubeconfig("north"))
        assert mesh.addresses() == [HOME, NORTH]
        world.remove_secret("s")
        await asyncio.sleep(GRACE + 0.1)
        assert mesh.addresses() == [HOME]
        assert len(mesh.told) == 2
        await asyncio.sleep(1)
        assert world["east"].watches == world["north"].watches == 0
        assert mesh.states() == {"home": State.FRESH}


@in_virtual_time
async def test_a_change_of_an_endpoint_is_told_within_the_same_callback():
    world = world_of()
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        put_slice(world["home"], ("home-pod", "10.0.0.1"), ("new", "10.0.0.2"))
        assert mesh.told == [Changes(endpoints=frozenset({ECHO}))]
        put_pod(world["home"], "home-pod", "10.0.0.1", container_statuses=())
        assert len(mesh.told) == 1


@in_virtual_time
async def test_a_secret_rewritten_with_the_same_content_does_nothing_at_all():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        connections, lists = world.connections, world["east"].lists
        world.put_secret("s", east=world.kubeconfig("east") + "\n# rewritten\n")
        await asyncio.sleep(60)
        assert mesh.told == []
        assert (world.connections, world["east"].lists) == (connections, lists)


@in_virtual_time
async def test_a_rotation_changes_nothing_that_readers_see():
    world = world_of("east")
    world["east"].tokens = {"good", "newer"}
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world.put_secret("s", east=world.kubeconfig("east", "newer"))
        for _ in range(100):
            await asyncio.sleep(0.01)
            assert mesh.addresses() == [EAST, HOME]
        world["east"].tokens = {"newer"}
        world["east"].interrupt()
        await asyncio.sleep(60)
        assert mesh.status("east").state is State.FRESH
        assert mesh.told == []
        put_slice(world["east"], ("east-pod", "10.1.0.2"))
        assert mesh.addresses() == ["10.1.0.2", HOME]


@in_virtual_time
async def test_a_bad_new_credential_leaves_the_old_one_working_and_says_so():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        world.put_secret("s", east=world.kubeconfig("east", "wrong"))
        await asyncio.sleep(300)
        status = mesh.status("east")
        assert status.state is State.FRESH
        assert "401" in status.remarks[0]
        put_slice(world["east"], ("east-pod", "10.1.0.2"))
        assert mesh.addresses() == ["10.1.0.2", HOME]
        world["east"].tokens.add("wrong")
        await asyncio.sleep(60)
        assert mesh.status("east").remarks == ()


@in_virtual_time
async def test_a_good_credential_put_back_ends_the_trial_of_a_bad_one():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world.put_secret("s", east=world.kubeconfig("east", "wrong"))
        await asyncio.sleep(5)
        world.put_secret("s", east=world.kubeconfig("east"))
        await asyncio.sleep(5)
        assert (mesh.status("east").remarks, mesh.told) == ((), [])


@in_virtual_time
async def test_swapped_credentials_lose_no_endpoint():
    world = world_of("east", "north")
    east, north = world.kubeconfig("east"), world.kubeconfig("north")
    world.put_secret("s", east=east, north=north)
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world.put_secret("s", east=north, north=east)
        await asyncio.sleep(60)
        world.put_secret("s", east=east, north=north)
        await asyncio.sleep(60)
        assert mesh.told == []
        assert mesh.states() == dict.fromkeys(("home", "east", "north"), State.FRESH)


@in_virtual_time
async def test_a_hanging_remote_holds_up_readiness_for_five_seconds_and_others_not_at_all():
    world = world_of("east", "north")
    world["east"].hangs = True
    world.put_secret("s", east=world.kubeconfig("east"), north=world.kubeconfig("north"))
    async with running_mesh(world) as mesh:
        await asyncio.sleep(1)
        assert mesh.addresses() == [HOME, NORTH]
        await mesh.clusters.settled()
        assert 5 <= asyncio.get_running_loop().time() <= 7
        assert mesh.status("east").state is State.SYNCING
        await asyncio.sleep(10)
        assert mesh.status("east").state is State.UNREACHABLE
        world["east"].hangs = False
        await asyncio.sleep(15)
        assert mesh.addresses() == [EAST, HOME, NORTH]


@in_virtual_time
async def test_readiness_waits_for_the_own_cluster_and_not_for_one_that_fails_at_once():
    world = world_of("east")
    world["home"].problem = Unreachable("no route")
    world["east"].problem = ApiError(401, "Unauthorized", "")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        async with asyncio.TaskGroup() as tasks:
            ready = tasks.create_task(mesh.clusters.settled())
            await asyncio.sleep(60)
            assert not ready.done()
            world["home"].problem = None
        # The longest pause between two attempts, and then all at once: nothing else is waited for.
        assert asyncio.get_running_loop().time() < 60 + 31
        assert mesh.status("east").state is State.UNAUTHORISED


@in_virtual_time
async def test_a_cluster_that_was_lost_keeps_its_endpoints_and_is_stale():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world["east"].problem = Unreachable("connection refused")
        world["east"].interrupt()
        await asyncio.sleep(600)
        status = mesh.status("east")
        assert (status.state, mesh.told) == (State.STALE, [])
        assert "connection refused" in status.reason
        assert mesh.addresses() == [EAST, HOME]
        put_slice(world["east"], ("east-pod", "10.1.0.9"))
        world["east"].problem = None
        await asyncio.sleep(5)
        assert mesh.status("east").state is State.FRESH
        assert mesh.addresses() == ["10.1.0.9", HOME]


@in_virtual_time
async def test_a_cluster_without_slices_is_read_through_its_endpoints():
    world = world_of()
    world["home"].slice_version = None
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert mesh.addresses() == []
        assert mesh.status("home").state is State.FRESH


@in_virtual_time
async def test_a_fault_of_our_own_leaves_endpoints_in_force_and_mends_itself():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world["east"].problem = ZeroDivisionError("a bug")
        world["east"].interrupt()
        await asyncio.sleep(0.1)
        status = mesh.status("east")
        assert (status.state, status.reason) == (State.STALE, "ZeroDivisionError: a bug")
        world["east"].problem = None
        await asyncio.sleep(60)
        assert (mesh.status("east").state, mesh.told) == (State.FRESH, [])
        assert mesh.addresses() == [EAST, HOME]
