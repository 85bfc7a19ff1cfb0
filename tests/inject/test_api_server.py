"""What injection writes is what an API server takes, by the real kubectl, and its strictest validation."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from isthmus.inject.settings import InjectionSettings, NativeSidecars
from isthmus.inject.stream import inject_stream
from isthmus.kube.access import access_from_file
from isthmus.kube.client import running_client
from isthmus.kube.kinds import untyped
from isthmus.lab.apiserver.server import running_api_server
from isthmus.lib.binaries import find_kubectl

GOLDEN = Path(__file__).with_name("golden")
NAMESPACE = untyped("", "v1", "namespaces", "Namespace", namespaced=False)
ACCOUNT = untyped("", "v1", "serviceaccounts", "ServiceAccount")
HELD = (
    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: held\n  annotations:\n"
    "    proxy.istio.io/config: 'holdApplicationUntilProxyStarts: true'\n"
    "spec:\n  restartPolicy: OnFailure\n  containers:\n"
    "  - {name: echo, image: echo, readinessProbe: {tcpSocket: {port: 80}}}\n"
)


@pytest_asyncio.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    file = tmp_path / "kubeconfig"
    async with running_api_server() as server:
        file.write_bytes(server.kubeconfig("test"))
        async with running_client(access_from_file(file)) as client:
            await client.create(NAMESPACE, {"metadata": {"name": "demo"}})
            await client.create(ACCOUNT, {"metadata": {"name": "default"}}, "default")
        yield file


async def apply(kubeconfig: Path, text: str) -> tuple[int, str]:
    command = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    process = await asyncio.create_subprocess_exec(
        *(str(find_kubectl()), *command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)},
    )
    said, _ = await process.communicate(text.encode())
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.parametrize("native", NativeSidecars)
@pytest.mark.parametrize("text", [(GOLDEN / "deployment.yaml").read_text(), HELD], ids=["deployment", "held"])
async def test_an_api_server_takes_what_is_injected(
    text: str, native: NativeSidecars, kubeconfig: Path
) -> None:
    settings = InjectionSettings(native_sidecars=native, image_pull_secrets=("registry",))
    injected = inject_stream(text.replace("0b101", "5"), "app.yaml", settings, print)
    code, said = await apply(kubeconfig, injected)
    assert code == 0, said
    assert "created (server dry run)" in said
