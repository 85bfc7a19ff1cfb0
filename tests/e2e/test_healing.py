"""The guide's known problem, gone: the control plane's Pod IPs change, and remotes follow by themselves."""

import asyncio
import time
from collections.abc import Sequence

from isthmus.kube.kinds import POD
from isthmus.lab.controllers.objects import Object, entries, is_ready, is_terminating
from isthmus.lab.demo.deploy import SYSTEM, LabCluster, complete, until
from isthmus.lab.demo.steps import pods_of, scale
from tests.e2e.conftest import Mesh

SERVICES = {"pilot": "istio-pilot", "mixer": "istio-policy", "statsd-prom-bridge": "istio-statsd-prom-bridge"}


async def replace_all(cluster: LabCluster) -> dict[str, Sequence[str]]:
    """Delete every pod of the control plane at once; the addresses of those that take their place."""
    old = {
        pod.metadata.uid: pod.metadata.name
        for label in SERVICES
        for pod in (await cluster.client.list(POD, SYSTEM, label_selector=f"istio={label}")).items
    }
    for name in old.values():
        await cluster.client.delete(POD, name, SYSTEM)

    def is_new(pod: Object) -> bool:
        return pod["metadata"]["uid"] not in old and is_ready(pod) and not is_terminating(pod)

    found: dict[str, Sequence[str]] = {}
    for label, service in SERVICES.items():
        if await pods_labelled(cluster, label):
            pod = await until(
                cluster, "Pod", SYSTEM, is_new, what=f"A new {service}", selector=f"istio={label}"
            )
            found[service] = [pod["status"]["podIP"]]
    return found


async def pods_labelled(cluster: LabCluster, label: str) -> int:
    return len((await cluster.client.list(POD, SYSTEM, label_selector=f"istio={label}")).items)


def addresses(endpoints: Object) -> list[str]:
    return [each["ip"] for subset in entries(endpoints, "subsets") for each in entries(subset, "addresses")]


async def test_remotes_follow_when_every_pod_of_the_control_plane_is_replaced_under_traffic(
    mesh: Mesh,
) -> None:
    now_at = await replace_all(mesh.primary)
    assert "istio-pilot" in now_at
    await asyncio.gather(
        *(
            until(
                mesh.remote,
                "Endpoints",
                SYSTEM,
                lambda found, service=service: (
                    found["metadata"]["name"] == service and addresses(found) == now_at[service]
                ),
                what=f"Endpoints of {service} at {now_at[service]}",
                timeout=30,
            )
            for service in now_at
        )
    )
    # A pod that starts there now has nothing but these addresses to get its configuration from.
    before, start = await pods_of(mesh.remote), time.monotonic()
    await scale(mesh.remote, len(before) + 1)
    await mesh.observed.first(
        lambda answer: answer.cluster == mesh.remote.name and answer.who not in before, start
    )
    await mesh.observed.sample(300)
    assert mesh.observed.failures() == []
    await scale(mesh.remote, len(before))
    await complete(mesh.remote, "echo")
