"""The live mapping of clients, while clusters come, rotate, fail and go."""

import asyncio

import pytest

from isthmus.clusters.claims import GRACE
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.model.service import ClusterId
from tests.clusters.running import in_virtual_time, running_mesh, world_of

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
OWN, REMOTE, TWIN = ClusterId("home"), ClusterId("east"), ClusterId("twin")


@in_virtual_time
async def test_every_cluster_is_reached_by_its_name_and_a_rotation_is_followed_once_it_is_complete():
    world = world_of("east")
    world["east"].tokens = {"good", "newer"}
    world["east"].handlers[f"POST {PATH}"] = lambda body: f"east read {body}".encode()
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        clients = mesh.clusters.clients
        await asyncio.sleep(0)
        assert OWN in clients
        await mesh.clusters.settled()
        assert set(clients) == {OWN, REMOTE}
        assert await clients[REMOTE].request("POST", PATH, body="this") == b"east read this"
        with pytest.raises(ApiError, match="NotFound"):
            await clients[OWN].request("POST", PATH, body="this")

        old = clients[REMOTE]
        world.put_secret("s", east=world.kubeconfig("east", "newer"))
        await asyncio.sleep(0.005)
        assert clients[REMOTE] is old
        await asyncio.sleep(1)
        assert clients[REMOTE] is not old
        world["east"].tokens = {"newer"}
        assert await clients[REMOTE].request("POST", PATH, body="that") == b"east read that"

        world.put_secret("s", east=world.kubeconfig("east", "wrong"))
        await asyncio.sleep(60)
        assert await clients[REMOTE].request("POST", PATH, body="still") == b"east read still"


@in_virtual_time
async def test_a_cluster_that_does_not_answer_has_a_client_and_one_that_is_gone_or_a_double_has_none():
    world = world_of("east")
    world["east"].problem = Unreachable("no route")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        with pytest.raises(Unreachable, match="no route"):
            await mesh.clusters.clients[REMOTE].ready()
        world["east"].problem = None
        world.put_secret("t", created="2026-02-02T00:00:00Z", twin=world.kubeconfig("east"))
        await asyncio.sleep(60)
        assert set(mesh.clusters.clients) == {OWN, REMOTE}
        assert TWIN not in mesh.clusters.clients
        world.remove_secret("s")
        await asyncio.sleep(GRACE + 0.1)
        assert set(mesh.clusters.clients) == {OWN, TWIN}
