"""What operators are told of clusters that are not quite well; in virtual time."""

import asyncio

from isthmus.clusters.health import State
from tests.clusters.building import ECHO
from tests.clusters.fake_world import put_slice
from tests.clusters.running import EAST, HOME, NORTH, in_virtual_time, running_mesh, world_of


@in_virtual_time
async def test_a_reader_without_rights_to_nodes_joins_and_says_what_is_missing():
    world = world_of("east")
    world["east"].forbidden = {"nodes", "namespaces"}
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        status = mesh.status("east")
        assert (status.state, mesh.addresses()) == (State.FRESH, [EAST, HOME])
        assert any("localities" in remark for remark in status.remarks)


@in_virtual_time
async def test_a_bad_address_is_rejected_by_name_and_the_others_stay():
    world = world_of()
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        put_slice(world["home"], ("x", "10.0.0.300"), ("y", "127.0.0.1"), ("z", "10.0.0.5"))
        assert mesh.addresses() == ["10.0.0.5"]
        first, second = mesh.status("home").rejected
        assert (first.kind, str(first.ref)) == ("EndpointSlice", "demo/echo-1")
        assert first.reason.startswith("endpoints[0].addresses[0]: '10.0.0.300' is not an IP")
        assert "loopback" in second.reason
        put_slice(world["home"], ("z", "10.0.0.5"))
        assert mesh.status("home").rejected == ()


@in_virtual_time
async def test_a_server_that_falls_silent_without_breaking_a_watch_is_stale_within_a_minute():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(10)
        assert mesh.status("east").version == "v1.31.0"
        assert mesh.status("east").latency is not None
        world["east"].hangs = True
        await asyncio.sleep(85)
        status = mesh.status("east")
        assert (status.state, status.latency) == (State.STALE, None)
        assert "probes: it did not answer" in status.reason
        assert "Check that https://east.test:6443 runs" in status.advice
        assert mesh.addresses() == [EAST, HOME]
        world["east"].hangs = False
        await asyncio.sleep(45)
        assert mesh.status("east").state is State.FRESH
        assert "it did not answer" in mesh.status("east").last_error


@in_virtual_time
async def test_an_address_that_two_clusters_claim_is_served_once_and_reported():
    world = world_of("east", "north")
    put_slice(world["north"], ("north-pod", EAST), ("other", NORTH))
    world.put_secret("s", east=world.kubeconfig("east"), north=world.kubeconfig("north"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        served = [(e.cluster, e.address) for e in mesh.clusters.view.endpoints(ECHO)[80]]
        assert served == [("east", EAST), ("home", HOME), ("north", NORTH)]
        (remark,) = mesh.status("north").remarks
        assert remark.startswith("10.1.0.1 of echo.demo.svc.cluster.local is served from east")
        assert mesh.status("east").remarks == ()
        world.put_secret("s", north=world.kubeconfig("north"))
        assert mesh.addresses() == [HOME, EAST, NORTH]
        assert mesh.status("north").remarks == ()


@in_virtual_time
async def test_an_address_that_a_remote_only_refers_to_is_served_from_the_cluster_of_its_pod():
    world = world_of("east")
    put_slice(world["east"], ("", HOME), ("east-pod", EAST))
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        served = [(e.cluster, e.address) for e in mesh.clusters.view.endpoints(ECHO)[80]]
        assert served == [("east", EAST), ("home", HOME)]
        assert mesh.status("east").remarks == mesh.status("home").remarks == ()
