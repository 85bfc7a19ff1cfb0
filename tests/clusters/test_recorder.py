"""Events on cluster Secrets; in virtual time."""

import asyncio
import time

from isthmus.clusters.health import State
from isthmus.kube.errors import ApiError, Unreachable
from tests.clusters.fake_world import World
from tests.clusters.running import EAST, HOME, in_virtual_time, lose, regain, running_mesh, world_of

HOUR = 3600.0


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


@in_virtual_time
async def test_an_event_follows_the_reason_of_what_lasts_and_not_each_of_many_words():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))

    def messages() -> list[str]:
        return [each["message"] for each in world["home"].written.values() if each["plural"] == "events"]

    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await lose(world, "east", 3)
        assert ["connection refused" in each for each in messages()] == [True]
        world["east"].problem = ApiError(500, "InternalError", "etcd is gone")
        await asyncio.sleep(35)
        assert mesh.status("east").state is State.STALE
        assert ["etcd is gone" in each for each in messages()] == [False, True]
        before = world["home"].writes
        for number in range(300):
            world["east"].problem = Unreachable(f"reason {number % 3}")
            await asyncio.sleep(1)
        assert world["home"].writes - before <= 11
        assert len(messages()) <= 2 + 3 * 5  # of five watches some have met one reason, some another


@in_virtual_time
async def test_a_cluster_that_stays_away_is_told_to_let_certificates_end_long_before_and_again_each_hour():
    world = world_of("east")
    began = time.time()

    def wall() -> float:
        return began + asyncio.get_running_loop().time()

    world["east"].retry_every = 600.0
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world, wall=wall) as mesh:
        await mesh.clusters.settled()
        assert mesh.status("east").certificates_end is None
        await lose(world, "east", HOUR)
        ends = mesh.status("east").certificates_end
        assert ends is not None
        assert ends.first is not None
        assert 10 * HOUR < ends.first - began < 11 * HOUR
        assert 24 * HOUR - 60 < ends.last - began < 24 * HOUR + 60
        assert "its workloads get no new certificates" in mesh.status("east").remarks[0]
        assert {reason for reason, _, _ in events_of(world)} == {"ClusterUnreachable"}, "it may be short"
        await asyncio.sleep(HOUR)
        written = world["home"].written
        (event,) = [each for each in written.values() if each.get("reason") == "CertificatesEnd"]
        assert "those that they have end from " in event["message"]
        await asyncio.sleep(5 * HOUR)
        assert written[event["metadata"]["name"]]["count"] >= 6
        for hours, words in ((5, "those that they have end since "), (13, "have ended, and mutual TLS")):
            await asyncio.sleep(hours * HOUR)
            assert words in mesh.status("east").remarks[0]
        await regain(world, "east", 700)
        assert mesh.status("east").certificates_end is None

        world["east"].forbidden = {"services"}
        world["east"].interrupt()
        await asyncio.sleep(40)
        status = mesh.status("east")
        assert (status.state, status.certificates_end) == (State.UNAUTHORISED, None), "its server answers"
