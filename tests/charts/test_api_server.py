"""What the charts render is taken by an API server, through the real kubectl, and goes without a trace."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from isthmus.lab.apiserver.server import RunningServer, running_api_server
from isthmus.lib.binaries import find_kubectl
from tests.charts.rendering import CHARTS, CONTROL_PLANE, REMOTE, manifest, parse

KINDS = (
    "serviceaccounts", "configmaps", "services", "endpoints", "endpointslices", "deployments",
    "poddisruptionbudgets", "roles", "rolebindings", "clusterroles", "clusterrolebindings",
)  # fmt: skip
FULL = (
    "policy.enabled=true",
    "statsd.mapping.mappings[0].match=a",
    "global.imagePullSecrets={registry}",
    "pilot.tolerations[0].operator=Exists",
)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl against one server."""

    kubeconfig: Path

    async def stored(self) -> set[tuple[str, str, str]]:
        """Every object of the kinds that the charts use: its kind, namespace and name."""
        listing = json.loads(await self.must("get", ",".join(KINDS), "-A", "-o", "json"))
        heads = ((item["kind"], item["metadata"]) for item in listing["items"])
        return {(kind, head.get("namespace", ""), head["name"]) for kind, head in heads}

    async def must(self, *arguments: str, text: str = "") -> str:
        """What it prints; it must succeed."""
        process = await asyncio.create_subprocess_exec(
            str(find_kubectl()),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.kubeconfig.parent)},
        )
        output, errors = await process.communicate(text.encode())
        assert process.returncode == 0, errors.decode()
        return output.decode()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_api_server() as running:
        yield running


@pytest.fixture
def kubectl(server: RunningServer, tmp_path: Path) -> Kubectl:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(server.kubeconfig("test"))
    return Kubectl(kubeconfig)


@pytest.mark.parametrize(
    ("chart", "settings"),
    [
        (CONTROL_PLANE, ()),
        (CONTROL_PLANE, FULL),
        (REMOTE, ()),
        (REMOTE, tuple(f"global.{part}Endpoint=10.1.0.5" for part in ("pilot", "policy", "statsd"))),
        (REMOTE, (r"global.pilotEndpoint=10.1.0.5\,fd00::5", "rights.renew=true")),
        (
            REMOTE,
            tuple(f"global.{part}Endpoint={part}.example.com" for part in ("pilot", "policy", "statsd")),
        ),
    ],
    ids=["istio", "istio-full", "remote-default", "remote-addresses", "remote-both-families", "remote-names"],
)
async def test_rendered_objects_are_created_and_deleted_again(
    chart: Path, settings: tuple[str, ...], kubectl: Kubectl
) -> None:
    text = manifest(chart, *settings, namespace="mesh")
    await kubectl.must("create", "namespace", "mesh")
    before = await kubectl.stored()
    created = await kubectl.must("create", "--validate=strict", "-f", "-", text=text)
    assert created.count(" created") == len(parse(text)) == len(await kubectl.stored()) - len(before)
    await kubectl.must("delete", "--wait=false", "-f", "-", text=text)
    assert await kubectl.stored() == before


async def test_account_for_tiller_is_created(kubectl: Kubectl) -> None:
    file = CHARTS / "helm-service-account.yaml"
    assert "clusterrolebinding.rbac.authorization.k8s.io/tiller" in await kubectl.must(
        "create", "--validate=strict", "-f", str(file)
    )
    account, binding = yaml.safe_load_all(file.read_text())
    assert (account["metadata"]["name"], account["metadata"]["namespace"]) == ("tiller", "kube-system")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "tiller", "namespace": "kube-system"}]
