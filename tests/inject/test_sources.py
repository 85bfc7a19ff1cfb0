"""Settings out of a cluster: the lab's API server, asked as the command asks it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from isthmus.inject.settings import NativeSidecars
from isthmus.inject.sources import Source, settings_in_cluster
from isthmus.kube.access import Access, access_from_file
from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import untyped
from isthmus.lab.apiserver.server import running_api_server
from isthmus.lib.errors import UserError

CONFIG_MAP = untyped("", "v1", "configmaps", "ConfigMap")
NAMESPACE = untyped("", "v1", "namespaces", "Namespace", namespaced=False)
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: echo}\nspec: {containers: [{name: echo, image: echo}]}\n"


@pytest_asyncio.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    file = tmp_path / "kubeconfig"
    async with running_api_server() as server:
        file.write_bytes(server.kubeconfig("test"))
        async with running_client(access_from_file(file)) as client:
            await client.create(NAMESPACE, {"metadata": {"name": "mesh"}})
        yield file


@pytest.fixture
def access(kubeconfig: Path) -> Access:
    return access_from_file(kubeconfig)


async def write(client: Client, name: str, **data: str) -> None:
    await client.create(CONFIG_MAP, {"metadata": {"name": name}, "data": data}, "mesh")


async def install(access: Access) -> None:
    async with running_client(access) as client:
        await write(client, "istio", mesh="defaultConfig: {discoveryAddress: pilot.mesh.svc:15010}")
        await write(client, "istio-sidecar-injector", values='{"global": {"network": "n1"}}')


async def test_both_config_maps_count(access: Access) -> None:
    await install(access)
    found = await settings_in_cluster(access, "mesh")
    assert (found.network, found.proxy_config) == ("n1", {"discoveryAddress": "pilot.mesh.svc:15010"})
    assert found.native_sidecars is NativeSidecars.AUTO


async def test_a_file_counts_in_place_of_its_config_map(access: Access) -> None:
    await install(access)
    found = await settings_in_cluster(access, "mesh", values=Source("global: {network: n2}", "file"))
    assert (found.network, found.proxy_config) == ("n2", {"discoveryAddress": "pilot.mesh.svc:15010"})


async def test_a_cluster_without_the_mesh_is_refused_by_what_it_lacks(access: Access) -> None:
    with pytest.raises(UserError, match=r"ConfigMap istio-system/istio does not exist .* --istio-namespace"):
        await settings_in_cluster(access, "istio-system")
    async with running_client(access) as client:
        await write(client, "istio", meshes="")
        with pytest.raises(UserError, match="ConfigMap mesh/istio has no key 'mesh'"):
            await settings_in_cluster(access, "mesh")
        with pytest.raises(UserError, match="ConfigMap mesh/istio-sidecar-injector does not exist"):
            await settings_in_cluster(access, "mesh", mesh=Source("", "file"))
        await write(client, "istio-sidecar-injector", values='{"global": {"hub": 1}}')
        with pytest.raises(UserError, match=r"istio-sidecar-injector: values: global\.hub is not as"):
            await settings_in_cluster(access, "mesh", mesh=Source("", "file"))


async def test_an_account_without_the_right_and_no_server_are_told_apart(access: Access) -> None:
    stranger = replace(access, client_cert_pem=None, client_key_pem=None, token="nobody")
    with pytest.raises(UserError, match="refuses: 401"):
        await settings_in_cluster(stranger, "mesh")
    with pytest.raises(UserError, match=r"https://127\.0\.0\.1:9 is not reached: .*--offline"):
        await settings_in_cluster(replace(access, server="https://127.0.0.1:9"), "mesh")


def isthmus_inject(*arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "isthmus.cli.main", "kube-inject", "-f", "-", *arguments]
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, input=POD, capture_output=True, text=True, timeout=60, env=environment)


def test_without_any_kubeconfig_sidecars_are_as_by_default_and_a_note_says_so(tmp_path: Path) -> None:
    done = isthmus_inject(home=tmp_path)
    assert done.returncode == 0
    assert "istio-proxy" in done.stdout
    assert "No kubeconfig" in done.stderr
    assert "--offline" in done.stderr


def test_a_kubeconfig_that_is_named_and_missing_is_refused(tmp_path: Path) -> None:
    done = isthmus_inject("--kubeconfig", str(tmp_path / "none"), home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--offline" in done.stderr


def test_two_files_need_no_cluster(tmp_path: Path) -> None:
    mesh, values = tmp_path / "mesh", tmp_path / "values"
    mesh.write_text("defaultConfig: {concurrency: 7}\n")
    values.write_text("global: {network: n7}\n")
    done = isthmus_inject("--mesh-config", str(mesh), "--values-file", str(values), home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '{"concurrency":7}' in done.stdout
    assert "value: n7" in done.stdout


async def test_the_command_asks_the_cluster_of_its_kubeconfig(kubeconfig: Path, access: Access) -> None:
    await install(access)
    done = await asyncio.to_thread(
        isthmus_inject, "--kubeconfig", str(kubeconfig), "-i", "mesh", home=kubeconfig.parent
    )
    assert done.returncode == 0, done.stderr
    assert "pilot.mesh.svc:15010" in done.stdout
