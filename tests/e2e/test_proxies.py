"""What the control plane knows of its proxies, and they of it."""

import asyncio
from typing import Any

from isthmus.kube.kinds import POD, SERVICE
from isthmus.lab.demo.deploy import SYSTEM
from isthmus.lab.demo.steps import pods_of
from tests.e2e.commands import pilot_page
from tests.e2e.conftest import Mesh

TYPES = ("cluster", "endpoint", "listener", "route")


async def page(path: str) -> Any:
    return await asyncio.to_thread(pilot_page, path)


async def test_every_proxy_has_taken_all_of_its_configuration(mesh: Mesh) -> None:
    wanted = await pods_of(mesh.primary) | await pods_of(mesh.remote)
    rows: dict[str, dict[str, Any]] = {}
    for row in await page("/debug/syncz"):
        name, _, namespace = row["proxy"].rpartition(".")
        if namespace == SYSTEM:
            continue  # The policy server follows the mesh's pods, and takes no configuration.
        rows[f"{row['cluster_id']}/{namespace}/{name}"] = row
    assert wanted <= rows.keys()
    assert any(name.startswith("west/demo/client-") for name in rows)
    assert [(name, kind) for name, row in rows.items() for kind in TYPES if not row[f"{kind}_synced"]] == []


async def test_endpoints_of_both_clusters_serve_and_no_request_is_lost_as_a_service_is_told_to_others(
    mesh: Mesh,
) -> None:
    """The client is in the service's namespace, which sees it whatever it declares; each time its cluster,
    its listener and its route come from elsewhere.
    """
    shards = (await page("/debug/endpointShardz"))["echo.demo.svc.cluster.local"]["demo"]["Shards"]
    addresses = {one for shard in shards.values() for each in shard for one in each["Addresses"]}
    for cluster in (mesh.primary, mesh.remote):
        pods = await cluster.client.list(POD, "demo", label_selector="app=echo")
        assert {pod.status.pod_ip for pod in pods.items} <= addresses
    everybody = await pods_of(mesh.primary) | await pods_of(mesh.remote)
    for declared in (".", "demo,other", None):
        patch = {"metadata": {"annotations": {"networking.istio.io/exportTo": declared}}}
        await mesh.remote.client.patch(SERVICE, "echo", patch, "demo")
        async with asyncio.timeout(30):
            while await _exported() != (set(declared.split(",")) if declared else set()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert set(await mesh.observed.sample(100)) == everybody
    assert mesh.observed.failures() == []


async def _exported() -> set[str]:
    """What the control plane knows that `echo` declares."""
    [echo] = [row for row in await page("/debug/registryz") if row["hostname"].startswith("echo.demo.")]
    return set(echo["Attributes"]["ExportTo"] or ())
