"""The CA as an operator meets it: what keeps the control plane unready, and a rotation by command."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
from cryptography import x509
from grpc import aio

from isthmus.ca.material import CA_KEY, OPERATOR_CA
from isthmus.ca.signer import new_key
from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import CONFIG_MAP, SECRET, untyped
from isthmus.lab.pki import Identity
from isthmus.operate.rights import rights_objects
from tests.ca.clusters import EAST, Clusters
from tests.ca.clusters import SERVICE_ACCOUNT as ACCOUNT
from tests.ca.making import material, secret
from tests.scenarios.mesh import (
    NAMESPACES,
    SECRETS,
    Pilot,
    eventually,
    proxy_of,
    running_pilot,
    two_clusters,
)
from tests.support.ca_client import make_csr, request_certificate


async def ca(kubeconfig: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isthmus.cli.main", "ca", *arguments, "--kubeconfig", str(kubeconfig)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def ready(pilot: Pilot) -> tuple[int, str]:
    return await pilot.page("/ready")


async def test_a_bad_ca_secret_keeps_the_control_plane_unready_and_is_named_until_it_is_mended(
    tmp_path: Path,
) -> None:
    good = material()
    async with two_clusters() as mesh:
        await mesh.west.api.create(
            SECRETS, secret(OPERATOR_CA, {**good, CA_KEY: b"nonsense"}), "istio-system"
        )
        async with running_pilot(mesh.west.server, tmp_path) as pilot:
            where = "Secret istio-system/cacerts, key ca-key.pem"

            async def named() -> bool:
                status, text = await ready(pilot)
                return status == 503 and where in text

            await eventually(named)
            assert not [line for line in pilot.log if "xds_port" in line]
            await mesh.west.api.patch(SECRETS, OPERATOR_CA, secret(OPERATOR_CA, good), "istio-system")
            await pilot.xds_port()
            assert (await ready(pilot))[0] == 200
            await mesh.west.api.patch(
                SECRETS, OPERATOR_CA, secret(OPERATOR_CA, {CA_KEY: b"bad again"}), "istio-system"
            )
            row = await pilot.cluster("west", lambda row: any(where in one for one in row["remarks"]))
            assert row["state"] == "fresh"
            assert (await ready(pilot))[0] == 200, "the last good CA stays in force"


async def test_a_rotation_is_asked_for_by_command_and_its_roots_reach_every_cluster(tmp_path: Path) -> None:
    config = tmp_path / "mesh.yaml"
    config.write_text(
        "isthmus: {certificates: {lifetime: 2s, longestLifetime: 3s, clockSkew: 0s, rootIntroduction: 1s}}"
    )
    kubeconfig = tmp_path / "west.kubeconfig"
    async with two_clusters() as mesh:
        await mesh.join_east()
        assert (await ca(_written(kubeconfig, mesh.west.server.kubeconfig("west")), "status"))[0] == 1
        async with running_pilot(mesh.west.server, tmp_path, options=("--mesh-config", str(config))) as pilot:
            await pilot.xds_port()

            async def roots() -> list[x509.Certificate]:
                found = await mesh.east.api.list(CONFIG_MAP, "default")
                texts = [one.data["root-cert.pem"] for one in found.items if "root-cert.pem" in one.data]
                return x509.load_pem_x509_certificates(texts[0].encode()) if texts else []

            (first,) = await eventually(roots)
            code, said = await ca(kubeconfig, "rotate")
            assert code == 0, said
            await eventually(lambda: _count(roots, 2))
            await eventually(lambda: _count(roots, 1))
            (last,) = await roots()
            assert last != first
            (own,) = [
                one
                for one in (await mesh.west.api.list(SECRET, "istio-system")).items
                if one.metadata.name == "istio-ca-secret"
            ]
            assert x509.load_pem_x509_certificate(own.data["ca-cert.pem"]) == last
            code, said = await ca(kubeconfig, "status", "-o", "json")
            (root,) = json.loads(said)["roots"]
            assert (code, root["signs"], root["serial"]) == (0, True, f"{last.serial_number:x}")


def _written(file: Path, text: bytes) -> Path:
    file.write_bytes(text)
    return file


async def _count(roots: Callable[[], Awaitable[list[x509.Certificate]]], wanted: int) -> bool:
    return len(await roots()) == wanted


async def grant(api: Client, *tiers: str) -> None:
    for body in rights_objects(tiers, "istio-system"):
        group, _, version = body["apiVersion"].rpartition("/")
        namespaced = "namespace" in body["metadata"]
        kind = untyped(group, version, f"{body['kind'].lower()}s", body["kind"], namespaced=namespaced)
        try:
            await api.create(kind, body, body["metadata"].get("namespace"))
        except ApiError as error:
            if error.status != 409:
                raise


async def test_a_missing_right_is_named_and_disables_just_its_feature(tmp_path: Path) -> None:
    reader = Identity("system:serviceaccount:istio-system:istio-reader-service-account")
    async with two_clusters() as mesh:
        await mesh.east.serve_echo("10.2.0.1")
        await mesh.east.api.create(NAMESPACES, {"metadata": {"name": "istio-system"}})
        await mesh.east.api.create(ACCOUNT, {"metadata": {"name": "echo"}}, "demo")
        await grant(mesh.east.api, "read")
        await mesh.join("east", mesh.east.server.kubeconfig("east", reader))
        async with running_pilot(mesh.west.server, tmp_path) as pilot, proxy_of(pilot) as proxy:
            await proxy.until("10.2.0.1")
            lacking = "the trust bundle is not distributed"
            row = await pilot.cluster("east", lambda row: any(lacking in one for one in row["remarks"]))
            assert (row["state"], row["served"]) == ("fresh", True)
            assert "configmaps" in str(row["remarks"])
            assert await roots_in(mesh.west.api, "default")

            token = await Clusters({EAST: mesh.east.api}).token(EAST)
            (port,) = next(line for line in pilot.log if "xds_tls_ports" in line)["xds_tls_ports"]
            roots = (await roots_in(mesh.west.api, "default")).encode()

            async def certified() -> str:
                """Why there is no certificate; "" once there is one."""
                options = (("grpc.ssl_target_name_override", "istio-pilot.istio-system.svc"),)
                credentials = grpc.ssl_channel_credentials(roots)
                async with aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
                    try:
                        csr = make_csr(new_key(), "spiffe://cluster.local/ns/demo/sa/echo")
                        await request_certificate(
                            channel, csr, seconds=0, token=token, cluster=EAST, timeout=10
                        )
                    except aio.AioRpcError as error:
                        return f"{error.code().name}: {error.details()}"
                return ""

            refused = await certified()
            assert refused.startswith("UNAVAILABLE")
            assert "grant us create on tokenreviews there" in refused
            row = await pilot.cluster("east", lambda row: "tokenreviews" in str(row["remarks"]))
            assert row["served"]
            await grant(mesh.east.api, "authenticate")

            async def mended() -> bool:
                return not await certified()

            await eventually(mended)
            await eventually(lambda: roots_in(mesh.east.api, "demo"))
            await pilot.cluster("east", lambda row: row["remarks"] == [])


async def roots_in(api: Client, namespace: str) -> str:
    found = await api.list(CONFIG_MAP, namespace)
    return next((one.data["root-cert.pem"] for one in found.items if "root-cert.pem" in one.data), "")
