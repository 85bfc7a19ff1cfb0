"""Make before break: another address, authority or API version, and another cluster only if that is meant."""

import asyncio
import base64
from collections.abc import Sequence

from isthmus.clusters.annotations import IDENTITY
from isthmus.clusters.health import State
from isthmus.clusters.registry import running_clusters
from isthmus.kube.access import Access
from isthmus.kube.kinds import SECRET
from isthmus.kube.kubeconfig_text import write_kubeconfig
from isthmus.model.service import ClusterId
from tests.clusters.building import ECHO
from tests.clusters.fake_world import put_slice
from tests.clusters.running import EAST, HOME, NORTH, in_virtual_time, running_mesh, world_of
from tests.clusters.test_over_http import CONTROL, KINDS, fill
from tests.kube.fake_api import FakeApi, running_fake_api
from tests.kube.pki import issue, make_ca

OTHER_ADDRESS = "https://east.other.test:6443"


@in_virtual_time
async def test_a_new_address_takes_over_once_it_has_listed_everything_and_a_dead_one_never_does():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    world.servers["nowhere"] = world_of("nowhere")["nowhere"]
    world["nowhere"].hangs = True
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world.put_secret("s", east=world.kubeconfig("nowhere"))
        await asyncio.sleep(60)
        assert (mesh.status("east").state, mesh.status("east").server) == (State.FRESH, world["east"].url)
        assert "the old one stays in use" in mesh.status("east").remarks[0]

        world["east"].also = {OTHER_ADDRESS}
        world.put_secret("s", east=world.kubeconfig("east", server=OTHER_ADDRESS))
        await asyncio.sleep(0.005)
        assert mesh.status("east").server == world["east"].url
        await asyncio.sleep(5)
        status = mesh.status("east")
        assert (status.state, status.server, status.rotations) == (State.FRESH, OTHER_ADDRESS, 1)
        assert mesh.told == []
        put_slice(world["east"], ("east-pod", "10.1.0.2"))
        assert mesh.addresses() == ["10.1.0.2", HOME]


@in_virtual_time
async def test_an_upgrade_that_takes_an_api_version_away_loses_no_endpoint_and_no_change():
    world = world_of("east")
    world["east"].slice_version = "v1beta1"
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world["east"].slice_version = "v1"
        world["east"].interrupt()
        put_slice(world["east"], ("east-pod", "10.1.0.2"))
        for _ in range(100):
            await asyncio.sleep(0.1)
            assert mesh.addresses() in ([EAST, HOME], ["10.1.0.2", HOME])
        status = mesh.status("east")
        assert (status.state, status.remarks, status.last_error) == (
            State.FRESH,
            (),
            "it serves discovery.k8s.io/v1beta1 endpointslices no more",
        )
        assert mesh.addresses() == ["10.1.0.2", HOME]
        assert [each.endpoints for each in mesh.told] == [frozenset({ECHO})]
        assert status.rotations == 0


@in_virtual_time
async def test_another_cluster_under_the_old_name_is_refused_until_the_operator_says_which_is_meant():
    world = world_of("east", "north")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        mesh.told.clear()
        world.put_secret("s", east=world.kubeconfig("north"))
        await asyncio.sleep(60)
        assert mesh.told == []
        (remark,) = mesh.status("east").remarks
        assert "another cluster (kube-system has the UID uid-of-north, not uid-of-east)" in remark
        assert "isthmus cluster add east --allow-different-cluster" in remark
        assert f"{IDENTITY}=uid-of-north" in remark
        world.put_secret("s", annotations={IDENTITY: "uid-of-south"}, east=world.kubeconfig("north"))
        await asyncio.sleep(60)
        assert mesh.addresses() == [EAST, HOME]
        world.put_secret("s", annotations={IDENTITY: "uid-of-north"}, east=world.kubeconfig("north"))
        assert mesh.addresses() == [NORTH, HOME]
        assert len(mesh.told) == 1
        status = mesh.status("east")
        assert (status.state, status.remarks, status.rotations) == (State.FRESH, (), 1)


@in_virtual_time
async def test_a_secret_that_is_made_anew_says_that_another_cluster_is_meant():
    world = world_of("east", "north")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        world.remove_secret("s")
        world.put_secret("s", east=world.kubeconfig("north"))
        await asyncio.sleep(1)
        assert mesh.addresses() == [NORTH, HOME]


@in_virtual_time
async def test_a_cluster_that_is_not_the_one_its_secret_means_never_joins_also_after_a_restart():
    world = world_of("east", "north")
    world.put_secret("s", annotations={IDENTITY: "uid-of-east"}, east=world.kubeconfig("north"))
    world.put_secret("t", annotations={IDENTITY: "ignored"}, a=world.kubeconfig("east"), b="none")
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(1)
        status = mesh.status("east")
        assert (status.state, status.served) == (State.REFUSED, False)
        assert "leads to another cluster" in status.reason
        assert ClusterId("east") not in mesh.clusters.clients
        # Which of a Secret's several clusters it would mean is not said, so it counts for none.
        assert mesh.status("a").state is State.FRESH
        assert mesh.addresses() == [EAST, HOME]
        world.put_secret("s", annotations={IDENTITY: "uid-of-north"}, east=world.kubeconfig("north"))
        assert mesh.addresses() == [EAST, NORTH, HOME]


def _secret(kubeconfig: bytes) -> dict[str, object]:
    return {
        "metadata": {"name": "s", "namespace": CONTROL, "labels": {"istio/multiCluster": "true"}},
        "data": {"east": base64.b64encode(kubeconfig).decode()},
    }


async def test_a_new_certificate_authority_takes_over_and_a_wrong_one_never_does():
    old_ca, new_ca = make_ca("old"), make_ca("new")
    contexts = [issue(ca, "server", "127.0.0.1").server_context() for ca in (old_ca, new_ca)]
    async with (
        running_fake_api(*KINDS) as home,
        running_fake_api(*KINDS, tls=contexts[0]) as before,
        running_fake_api(*KINDS, tls=contexts[1]) as after,
    ):
        fill(home, "home", "10.0.0.1")
        for each in (before, after):
            fill(each, "east", "10.1.0.1")

        def told(server: FakeApi, ca: bytes) -> None:
            access = Access(server.access.server, ca_pem=ca, token="t")
            home.put(SECRET, _secret(write_kubeconfig("east", access)))

        told(before, old_ca.cert_pem)
        async with running_clusters(
            home.access, cluster_id=ClusterId("home"), namespace=CONTROL, networks={}
        ) as clusters:
            await clusters.settled()

            async def until(words: str, server: FakeApi) -> Sequence[str]:
                async with asyncio.timeout(20):
                    while True:
                        (east,) = [one for one in clusters.status() if one.name == "east"]
                        addresses = [each.address for each in clusters.view.endpoints(ECHO)[80]]
                        assert (east.state, addresses) == (State.FRESH, ["10.1.0.1", "10.0.0.1"])
                        if words in "".join(east.remarks) and east.server == server.access.server:
                            return east.remarks
                        await asyncio.sleep(0.02)

            told(after, old_ca.cert_pem)
            await until("certificate is not trusted", before)
            told(after, new_ca.cert_pem)
            assert await until("", after) == ()
