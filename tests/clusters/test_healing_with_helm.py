"""Healed addresses and who installed them: helm and kubectl go on as before, and leave nothing behind."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isthmus.clusters.healing import FIELD_MANAGER, HEALED_BY, SERVICES
from isthmus.clusters.registry import running_clusters
from isthmus.kube.access import Access
from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import ENDPOINT_SLICE, SECRET, SERVICE, untyped
from isthmus.lab.apiserver.server import running_api_server
from isthmus.lab.controllers.wiring import running_controllers
from isthmus.lab.helm import MAJOR
from isthmus.model.service import ClusterId
from isthmus.operate.asking import NAMESPACES, Site, read_identity
from isthmus.operate.registration import secret_body
from isthmus.operate.tokens import issue_credential
from tests.charts.operator import Operator
from tests.charts.rendering import REMOTE, SYSTEM

PILOT, POLICY, STATSD = SERVICES
OWN = {PILOT: ["10.0.0.1", "10.0.0.2"], POLICY: ["fd00::3"], STATSD: ["10.0.0.4"]}
ENDPOINTS = untyped("", "v1", "endpoints", "Endpoints")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Desk:
    """The operator of a remote cluster, which joins and is healed."""

    operator: Operator
    home: Client
    remote: Client
    access: Access

    async def helm(self, command: str, *flags: str) -> None:
        chart = () if command in ("uninstall", "rollback") else (str(REMOTE),)
        await self.operator.types("helm", command, "mesh", *chart, *flags, "-n", SYSTEM)

    async def join(self) -> None:
        """The control plane gets the reader's own token, and no right but those that the chart gave it."""
        site = Site("remote", self.remote)
        credential = await issue_credential(site, "east", self.access, SYSTEM, 3600)
        body = secret_body("east", SYSTEM, credential, await read_identity(site))
        await self.home.create(SECRET, body, SYSTEM)

    async def endpoints(self, service: str) -> Json | None:
        found = (await self.remote.list(ENDPOINTS, SYSTEM)).items
        return next((each for each in found if each["metadata"]["name"] == service), None)

    async def until_healed(self, *services: str) -> None:
        """Wait until these lead to our own pods, and we own nothing there that helm may want to change."""
        found: Json | None = None
        for service in services:
            try:
                async with asyncio.timeout(20):
                    while found is None or _addresses(found) != OWN[service] or _is_ours(found):
                        await asyncio.sleep(0.05)
                        found = await self.endpoints(service)
            except TimeoutError:
                raise AssertionError(f"{service} is {found}") from None
            assert found["metadata"]["annotations"][HEALED_BY] == "home"
            found = None

    async def until_gone(self, before: set[tuple[str, str, str]]) -> None:
        """Wait until what is left is what there was before."""
        for _ in range(50):
            if await self.operator.everything() == before:
                return
            await asyncio.sleep(0.2)
        assert await self.operator.everything() == before


def _addresses(endpoints: Json) -> list[str]:
    return [address["ip"] for subset in endpoints["subsets"] for address in subset["addresses"]]


def _is_ours(endpoints: Json) -> bool:
    entries: Sequence[Json] = endpoints["metadata"]["managedFields"]
    return any("f:subsets" in each["fieldsV1"] for each in entries if each["manager"] == FIELD_MANAGER)


async def put_own_pods(home: Client) -> None:
    """Services of the control plane, with slices of their pods."""
    await home.create(NAMESPACES, {"metadata": {"name": SYSTEM}})
    for service, addresses in OWN.items():
        spec = {"ports": [{"name": "grpc", "port": 15010}]}
        await home.create(SERVICE, {"metadata": {"name": service}, "spec": spec}, SYSTEM)
        labels = {"kubernetes.io/service-name": service}
        piece = {
            "metadata": {"name": f"{service}-1", "labels": labels},
            "addressType": "IPv6" if ":" in addresses[0] else "IPv4",
            "ports": [{"name": "grpc", "port": 15010}],
            "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
        }
        await home.create(ENDPOINT_SLICE, piece, SYSTEM)


@asynccontextmanager
async def at_desk(folder: Path, helm: int = MAJOR) -> AsyncGenerator[Desk]:
    async with (
        running_api_server(name="home") as home_server,
        running_api_server(name="east") as east_server,
        running_client(home_server.access()) as home,
        running_client(east_server.access()) as remote,
        running_controllers(east_server.access()),
    ):
        (folder / "kubeconfig").write_bytes(east_server.kubeconfig("east"))
        operator = Operator(folder, helm)
        await operator.types("kubectl", "create", "namespace", SYSTEM)
        await put_own_pods(home)
        async with running_clusters(
            home_server.access(), cluster_id=ClusterId("home"), namespace=SYSTEM, networks={}
        ):
            yield Desk(operator, home, remote, east_server.access())


@pytest.mark.parametrize("helm", [3, 4])
async def test_a_release_is_upgraded_rolled_back_and_uninstalled_after_its_addresses_were_healed(
    helm: int, tmp_path: Path
) -> None:
    """Helm 3 by a patch that it works out itself; Helm 4 by the server's apply."""
    async with at_desk(tmp_path, helm) as desk:
        before = await desk.operator.everything()
        one, several = "global.pilotEndpoint=192.0.2.1", "global.policyEndpoint={192.0.2.2,fd00::9}"
        await desk.helm("install", "--set", one, "--set", several)
        assert await desk.endpoints(STATSD) is None
        await desk.join()
        await desk.until_healed(*SERVICES)

        await desk.helm("upgrade", "--reuse-values", "--set", "rights.renew=true")
        await desk.until_healed(*SERVICES)
        # What the chart wrote goes, and what was created here becomes the chart's.
        await desk.helm("upgrade", "--reset-values", "--set", "global.statsdEndpoint=192.0.2.4")
        await desk.until_healed(*SERVICES)
        # Helm 3 rolls back to no object that is there but was not in the last revision; an upgrade adopts it.
        back = (
            ("upgrade", "--reset-values", "--set", one, "--set", several) if helm == 3 else ("rollback", "1")
        )
        await desk.helm(*back)
        await desk.until_healed(*SERVICES)

        await desk.helm("upgrade", "--reset-values", "--set", "global.policyEndpoint=mixer.example.com")
        await desk.until_healed(PILOT, STATSD)
        await asyncio.sleep(1)
        found = await desk.endpoints(POLICY)
        assert found is None or _addresses(found) != OWN[POLICY]

        await desk.helm("uninstall")
        await desk.until_gone(before)


async def test_what_kubectl_created_it_applies_again_and_deletes_wholly(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        before = await desk.operator.everything()
        file = tmp_path / "istio-remote.yaml"
        setting = ("--set", "global.pilotEndpoint=192.0.2.1")
        rendered = await desk.operator.types("helm", "template", "mesh", str(REMOTE), "-n", SYSTEM, *setting)
        file.write_text(rendered)
        await desk.operator.types("kubectl", "create", "-f", str(file))
        await desk.join()
        await desk.until_healed(*SERVICES)
        for flag in ("--server-side=true", "--server-side=false"):
            await desk.operator.types("kubectl", "apply", flag, "-f", str(file))
            await desk.until_healed(*SERVICES)
        # Kubernetes deletes Endpoints with their Service: kubectl, which comes to them later, may find none.
        await desk.operator.types("kubectl", "delete", "--ignore-not-found", "-f", str(file))
        await desk.until_gone(before)
