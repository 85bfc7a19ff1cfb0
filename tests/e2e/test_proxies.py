"""What the control plane knows of its proxies, and they of it."""

import asyncio
from typing import Any

from isthmus.kube.kinds import POD
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


async def test_endpoints_of_both_clusters_stand_behind_the_service(mesh: Mesh) -> None:
    shards = (await page("/debug/endpointShardz"))["echo.demo.svc.cluster.local"]["demo"]["Shards"]
    addresses = {one for shard in shards.values() for each in shard for one in each["Addresses"]}
    for cluster in (mesh.primary, mesh.remote):
        pods = await cluster.client.list(POD, "demo", label_selector="app=echo")
        assert {pod.status.pod_ip for pod in pods.items} <= addresses
