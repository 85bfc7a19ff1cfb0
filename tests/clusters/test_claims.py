"""Secrets that are spoilt, clash, move and name each other's clusters; in virtual time."""

import asyncio

from isthmus.clusters.claims import GRACE
from isthmus.clusters.health import State
from tests.clusters.running import EAST, HOME, NORTH, in_virtual_time, running_mesh, world_of


@in_virtual_time
async def test_a_kubeconfig_that_turns_bad_leaves_the_old_one_working_and_says_so():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world.put_secret("s", east="not: [a kubeconfig")
        await asyncio.sleep(60)
        status = mesh.status("east")
        assert (status.state, mesh.told) == (State.FRESH, [])
        assert "Secret istio-system/s, key east" in status.remarks[0]


@in_virtual_time
async def test_a_bad_kubeconfig_is_refused_by_name_while_the_secrets_other_keys_go_on():
    world = world_of("east")
    exec_config = world.kubeconfig("east").replace("token: good", "exec: {command: rm}")
    world.put_secret("s", bad=exec_config, binary=b"\xff\x00", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert mesh.addresses() == [EAST, HOME]
        refused = mesh.status("bad")
        assert refused.state is State.REFUSED
        for part in (
            "Secret istio-system/s",
            "key bad",
            "exec",
            "kubectl config view --raw --flatten --minify",
        ):
            assert part in refused.reason
        assert mesh.status("binary").state is State.REFUSED
        world.put_secret("s", bad=world.kubeconfig("east"), east=world.kubeconfig("east"))
        await asyncio.sleep(1)
        assert len(mesh.clusters.status()) == 3


@in_virtual_time
async def test_the_oldest_secret_wins_a_name_and_the_loser_takes_its_place():
    world = world_of("east", "north")
    world.put_secret("a-younger", remote=world.kubeconfig("north"), created="2026-01-02T00:00:00Z")
    world.put_secret("b-older", remote=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert mesh.addresses() == [HOME, EAST]
        loser = mesh.clusters.status()[-1]
        assert (loser.state, loser.secret) == (State.REFUSED, "istio-system/a-younger")
        assert "istio-system/b-older" in loser.reason
        world.remove_secret("b-older")
        await asyncio.sleep(GRACE + 0.005)
        assert mesh.addresses() == [HOME]
        await asyncio.sleep(1)
        assert mesh.addresses() == [HOME, NORTH]
        world.put_secret("b-older", remote=world.kubeconfig("east"))
        await asyncio.sleep(1)
        assert mesh.addresses() == [HOME, EAST]


@in_virtual_time
async def test_a_key_that_moves_to_another_secret_keeps_its_cluster():
    world = world_of("east")
    world.put_secret("a", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world.put_secret("b", east=world.kubeconfig("east"), created="2026-01-02T00:00:00Z")
        world.remove_secret("a")
        await asyncio.sleep(60)
        assert mesh.told == []
        assert mesh.status("east").secret == "istio-system/b"


@in_virtual_time
async def test_unreadable_secrets_are_told_and_keep_nobody_from_being_ready():
    world = world_of()
    world["home"].forbidden = {"secrets"}
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert mesh.addresses() == [HOME]
        assert "cluster Secrets in istio-system cannot be read: 403" in mesh.status("home").remarks[0]
        world["home"].forbidden = set()
        await asyncio.sleep(2)
        assert mesh.status("home").remarks == ()


@in_virtual_time
async def test_a_secret_cannot_take_the_own_clusters_name():
    world = world_of("east")
    world.put_secret("s", home=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert mesh.addresses() == [HOME]
        assert "own cluster" in mesh.clusters.status()[-1].reason


@in_virtual_time
async def test_one_cluster_under_two_names_is_served_once_and_by_the_other_name_when_the_first_goes():
    world = world_of("east")
    world.put_secret("younger", aaa=world.kubeconfig("east"), created="2026-01-02T00:00:00Z")
    world.put_secret("older", zzz=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        assert mesh.addresses() == [HOME, EAST]
        assert mesh.states() == {"home": State.FRESH, "zzz": State.FRESH, "aaa": State.REFUSED}
        assert "zzz" in mesh.status("aaa").reason
        mesh.told.clear()
        world.remove_secret("older")
        await asyncio.sleep(GRACE + 0.1)
        assert mesh.addresses() == [EAST, HOME]
        assert len(mesh.told) == 1
        assert mesh.status("aaa").state is State.FRESH


@in_virtual_time
async def test_the_own_cluster_registered_as_a_remote_is_a_clash():
    world = world_of()
    world.put_secret("s", again=world.kubeconfig("home"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(1)
        assert mesh.addresses() == [HOME]
        assert mesh.status("again").state is State.REFUSED


@in_virtual_time
async def test_a_secret_that_is_made_anew_within_a_moment_takes_no_endpoint_away():
    world = world_of("east", "north")
    world["east"].tokens = {"good", "newer"}

    def put(token: str = "good", *, north: bool = True) -> None:
        also = {"north": world.kubeconfig("north")} if north else {}
        world.put_secret("s", annotations={}, east=world.kubeconfig("east", token), **also)

    put()
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        connections = world.connections
        world.remove_secret("s")
        await asyncio.sleep(GRACE / 2)
        put()
        await asyncio.sleep(60)
        assert (mesh.told, world.connections) == ([], connections), "the same credential: nothing to do"

        world.remove_secret("s")
        await asyncio.sleep(GRACE / 2)
        put("newer")
        await asyncio.sleep(60)
        assert (mesh.told, mesh.status("east").rotations) == ([], 1)

        world.remove_secret("s")
        put("newer", north=False)
        assert mesh.addresses() == [EAST, HOME], "what is left out of the new one is gone at once"

        mesh.told.clear()
        for _ in range(5):
            world.remove_secret("s")
            await asyncio.sleep(GRACE / 3)
            put("newer", north=False)
            await asyncio.sleep(GRACE / 3)
        world.remove_secret("s")
        await asyncio.sleep(GRACE - 0.1)
        assert (mesh.addresses(), mesh.told) == ([EAST, HOME], [])
        await asyncio.sleep(0.2)
        assert mesh.addresses() == [HOME]
        assert mesh.states() == {"home": State.FRESH}
