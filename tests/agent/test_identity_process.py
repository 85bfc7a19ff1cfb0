"""The agent beside a real Envoy, which proves itself to the control plane's secure port."""

import asyncio
import base64
import json
import socket
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

from isthmus.agent.admin import AdminClient
from isthmus.lib.binaries import find_envoy
from tests.agent.control_plane import HOST, ControlPlane, serving_control_plane
from tests.agent.pod import PATIENCE, Pod, resident_mebibytes, running_pod
from tests.ca.making import root_signer

WEST = {"ISTIO_META_CLUSTER_ID": "west", "SERVICE_ACCOUNT": "echo"}
SECURE = {"controlPlaneAuthPolicy": "MUTUAL_TLS"}


async def secrets_of(pod: Pod) -> dict[str, Any]:
    """Envoy's secrets that are in use, by name."""
    dump = json.loads(await AdminClient(pod.admin).get("/config_dump?resource=dynamic_active_secrets"))
    return {each["name"]: each["secret"] for each in dump.get("configs", [])}


async def roots_of(pod: Pod) -> bytes:
    context = (await secrets_of(pod))["ROOTCA"]["validation_context"]
    return base64.b64decode(context["trusted_ca"]["inline_bytes"])


async def give(plane: ControlPlane, folder: Path) -> None:
    """What injection mounts: the mesh's roots and the pod's token."""
    assert plane.signer is not None
    (folder / "istio-token").write_text(await plane.clusters.token(pod="echo-1"))
    (folder / "root-cert.pem").write_bytes(plane.signer.bundle)


async def test_envoy_waits_for_its_certificate_and_connects_with_it(tmp_path: Path) -> None:
    async with (
        serving_control_plane() as plane,
        running_pod(tmp_path, find_envoy(), f"{HOST}:{plane.port}", proxy=SECURE, more=WEST) as pod,
    ):
        await pod.health_says(pod.status, "no roots of the mesh in")
        assert plane.admitted == []
        assert plane.signer is not None
        (tmp_path / "root-cert.pem").write_bytes(plane.signer.bundle)
        await pod.health_says(pod.status, "istio-token holds no token")
        await give(plane, tmp_path)
        await pod.health_says(pod.health, "ready\n")
        claimed, identity = plane.admitted[0]
        assert identity.uri == "spiffe://cluster.local/ns/demo/sa/echo"
        assert (claimed.cluster, claimed.namespace, claimed.pod) == ("west", "demo", "echo-1")
        assert identity.cluster == "", "proved by a certificate, not by a token"
        assert (await secrets_of(pod)).keys() == {"default", "ROOTCA"}
        assert stat.S_IMODE((tmp_path / "SDS").stat().st_mode) == 0o600
        assert resident_mebibytes(pod.agent.pid) < 44
        pod.agent.terminate()
        assert await pod.ended() == 0
    assert b"PRIVATE KEY" not in pod.said
    assert (tmp_path / "istio-token").read_bytes() not in pod.said
    assert not (tmp_path / "SDS").exists()
    assert all(b"PRIVATE KEY" not in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())


async def test_a_renewed_certificate_and_changed_roots_reach_envoy(tmp_path: Path) -> None:
    async with (
        serving_control_plane(timedelta(seconds=4)) as plane,
        running_pod(tmp_path, find_envoy(), f"{HOST}:{plane.port}", proxy=SECURE, more=WEST) as pod,
    ):
        await give(plane, tmp_path)
        await pod.health_says(pod.health, "ready\n")
        seen: set[str] = set()
        async with asyncio.timeout(PATIENCE * 2):
            while len(seen) < 3:
                secret = (await secrets_of(pod))["default"]["tls_certificate"]
                seen.add(secret["certificate_chain"]["inline_bytes"])
                await asyncio.sleep(0.2)
        assert plane.signer is not None
        both = plane.signer.bundle + root_signer().bundle
        (tmp_path / "root-cert.pem").write_bytes(both)
        async with asyncio.timeout(PATIENCE):
            while await roots_of(pod) != both:  # noqa: ASYNC110 -- another process decides
                await asyncio.sleep(0.2)


async def test_statistics_name_the_cluster_that_vouched_for_the_pod(tmp_path: Path) -> None:
    """As in the guide, where no value names a remote cluster."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inlet:
        inlet.setblocking(False)
        inlet.bind(("127.0.0.1", 0))
        proxy = {**SECURE, "statsdUdpAddress": f"localhost:{inlet.getsockname()[1]}"}
        more = {"SERVICE_ACCOUNT": "echo"}
        async with (
            serving_control_plane() as plane,
            running_pod(tmp_path, find_envoy(), f"{HOST}:{plane.port}", proxy=proxy, more=more) as pod,
        ):
            await give(plane, tmp_path)
            await pod.health_says(pod.health, "ready\n")
            async with asyncio.timeout(PATIENCE):
                while True:
                    datagram = await asyncio.get_running_loop().sock_recv(inlet, 65_535)
                    lines = datagram.decode().split("\n")
                    if all("|#cluster:west,namespace:demo" in line for line in lines):
                        break


async def test_a_control_plane_with_a_certificate_of_others_is_not_believed(tmp_path: Path) -> None:
    async with (
        serving_control_plane() as plane,
        running_pod(tmp_path, find_envoy(), f"{HOST}:{plane.port}", proxy=SECURE, more=WEST) as pod,
    ):
        await give(plane, tmp_path)
        (tmp_path / "root-cert.pem").write_bytes(root_signer().bundle)
        await pod.health_says(pod.status, "its certificate is not trusted")
        assert plane.service is not None
        assert plane.service.tally.issued == 0
