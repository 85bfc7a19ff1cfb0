"""Clusters that come, rotate, fail, clash and go, by their Secrets; in virtual time."""

import asyncio

from isthmus.clusters.health import State
from isthmus.clusters.standing import Standing
from isthmus.config.durations import Duration
from isthmus.config.mesh import StaleEndpoints, StalePolicy
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.model.view import Changes
from tests.clusters.building import ECHO
from tests.clusters.fake_world import World, put_pod, put_slice
from tests.clusters.running import EAST, HOME, NORTH, Mesh, in_virtual_time, running_mesh, world_of


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
async def test_a_removed_secret_takes_its_endpoints_away_at_once_and_nothing_else():
    world = world_of("east", "north")
    world.put_secret("s", east=world.kubeconfig("east"), north=world.kubeconfig("north"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world.put_secret("s", north=world.kubeconfig("north"))
        assert mesh.addresses() == [HOME, NORTH]
        world.remove_secret("s")
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


def events_of(world: World) -> list[tuple[str, str, int]]:
    return [
        (event["reason"], event["involvedObject"]["name"], event["count"])
        for event in world["home"].written.values()
        if event["plural"] == "events"
    ]


@in_virtual_time
async def test_troubles_and_rotations_become_events_on_the_secret_counted_up_when_they_come_back():
    world = world_of("east", "north")
    world["north"].problem = ApiError(401, "Unauthorized", "")
    world["east"].tokens = {"good", "newer"}
    world.put_secret("s", east=world.kubeconfig("east"), bad="nonsense: [")
    world.put_secret("t", north=world.kubeconfig("north"))
    async with running_mesh(world) as mesh:
        await asyncio.sleep(10)
        assert sorted(events_of(world)) == [("ClusterRefused", "s", 1), ("ClusterUnauthorised", "t", 1)]
        world.put_secret("s", east=world.kubeconfig("east", "newer"))
        for _ in range(2):
            world["east"].problem = Unreachable("connection refused")
            world["east"].interrupt()
            await asyncio.sleep(10)
            world["east"].problem = None
            await asyncio.sleep(30)
        assert mesh.status("east").state is State.FRESH
        assert sorted(events_of(world)) == [
            ("ClusterRefused", "s", 1),
            ("ClusterUnauthorised", "t", 1),
            ("ClusterUnreachable", "s", 2),
            ("CredentialRotated", "s", 1),
        ]


@in_virtual_time
async def test_a_missing_right_to_write_events_is_named_and_disables_nothing_else():
    world = world_of("east")
    world["home"].forbidden = {"events"}
    world.put_secret("s", east=world.kubeconfig("east"), bad="nonsense: [")
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(300)
        assert mesh.addresses() == [EAST, HOME]
        assert mesh.states() == {"home": State.FRESH, "east": State.FRESH, "bad": State.REFUSED}
        assert mesh.status("home").remarks == (
            "Events about clusters cannot be written: 403 Forbidden: cannot list events",
        )


def priorities(mesh: Mesh) -> dict[str, int]:
    return {e.address: e.priority for e in mesh.clusters.view.endpoints(ECHO).get(80, ())}


async def lose(world: World, name: str, seconds: float) -> None:
    world[name].problem = Unreachable("connection refused")
    world[name].interrupt()
    await asyncio.sleep(seconds)


async def regain(world: World, name: str, seconds: float) -> None:
    world[name].problem = None
    world[name].interrupt()
    await asyncio.sleep(seconds)


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


@in_virtual_time
async def test_a_control_plane_that_restarts_beside_a_dead_remote_serves_it_as_last_known():
    world = world_of("east", "north")
    world.put_secret("s", east=world.kubeconfig("east"), north=world.kubeconfig("north"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(100)
        before = mesh.clusters.view.endpoints(ECHO)
    world["east"].hangs = True
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
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
