"""Puts the demonstration's workloads, `echo` and `client`, into the running clusters of a lab.

Every function may be called again: it finds what is there and makes it right.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from isthmus.inject.injection import inject
from isthmus.inject.settings import InjectionSettings
from isthmus.inject.sources import settings_in_cluster
from isthmus.inject.workload import workload_in
from isthmus.kube.access import Access, access_from_file
from isthmus.kube.client import Client, running_client
from isthmus.kube.watch import Event, Upserted, watch_kind
from isthmus.lab.apply import apply, kind_named
from isthmus.lab.controllers.objects import Object, is_ready, is_terminating, key_of, section
from isthmus.lab.demo.workloads import DEMO, ECHO_URL, client, echo
from isthmus.lab.exec import enter_pod
from isthmus.lab.node.enter import Entrance
from isthmus.lab.plan import ClusterPlan
from isthmus.lab.reference import PodReference
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import task_scope
from isthmus.operate.asking import Site

SYSTEM = "istio-system"


@dataclass(frozen=True, slots=True)
class LabCluster:
    """A running cluster and an administrator's client for it."""

    plan: ClusterPlan
    client: Client

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.plan.name

    @property
    def access(self) -> Access:
        """The administrator's access."""
        return access_from_file(self.plan.kubeconfig)

    @property
    def site(self) -> Site:
        """The cluster as an operator's commands take it."""
        return Site(f"cluster {self.name}", self.client)


@asynccontextmanager
async def connected(plans: Sequence[ClusterPlan]) -> AsyncGenerator[list[LabCluster]]:
    """Clients for all clusters."""
    async with AsyncExitStack() as stack:
        yield [
            LabCluster(
                plan, await stack.enter_async_context(running_client(access_from_file(plan.kubeconfig)))
            )
            for plan in plans
        ]


async def until(
    cluster: LabCluster,
    kind: str,
    namespace: str,
    condition: Callable[[Object], bool],
    *,
    what: str,
    selector: str = "",
    timeout: float = 60.0,
) -> Object:
    """Watch until an object meets the condition, and return it; UserError says `what` was waited for."""
    found: asyncio.Future[Object] = asyncio.get_running_loop().create_future()

    def deliver(event: Event[Object]) -> None:
        if isinstance(event, Upserted) and not found.done() and condition(event.object):
            found.set_result(event.object)

    try:
        async with asyncio.timeout(timeout), task_scope() as scope:
            watch = watch_kind(
                cluster.client, kind_named(kind), deliver, namespace=namespace, label_selector=selector
            )
            scope.serve(watch, name=f"wait for {kind}")
            return await found
    except TimeoutError:
        text = f"{what} did not come about in cluster {cluster.name} within {timeout:.0f} seconds"
        raise UserError(f"{text}; see `isthmus lab status` and {cluster.plan.directory}/logs.") from None


def is_complete(deployment: Object) -> bool:
    """Whether all pods of a Deployment are of its newest template, wanted, and available."""
    status, wanted = section(deployment, "status"), deployment["spec"].get("replicas", 1)
    counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")]
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return seen and counts == [wanted] * 3


async def deploy_workloads(primary: LabCluster, remotes: Sequence[LabCluster], *, replicas: int) -> None:
    """`echo` everywhere and `client` in the first cluster, each pod with its sidecar, all of them ready."""
    for cluster in (primary, *remotes):
        objects = echo(cluster.name, replicas=replicas)
        if cluster is primary:
            objects += client()
        settings = await settings_in_cluster(cluster.access, SYSTEM)
        await apply(cluster.client, (with_sidecar(each, settings) for each in objects))
    await asyncio.gather(
        complete(primary, "client"), *(complete(each, "echo") for each in (primary, *remotes))
    )


async def complete(cluster: LabCluster, name: str) -> None:
    """Wait until a Deployment of the demonstration is complete."""
    await until(
        cluster,
        "Deployment",
        DEMO,
        lambda found: found["metadata"]["name"] == name and is_complete(found),
        what=f"A complete Deployment {name}",
    )


def with_sidecar(item: Object, settings: InjectionSettings) -> Object:
    """A workload as `isthmus inject` makes it; other objects as they are."""
    workload = workload_in(item, "lab")
    if workload is None:
        return item
    pod = inject(workload, settings)
    return {**item, "spec": {**item["spec"], "template": pod}}


async def find_client(primary: LabCluster) -> PodReference:
    """The client pod, once it is ready."""
    pod = await until(
        primary,
        "Pod",
        DEMO,
        lambda found: is_ready(found) and not is_terminating(found),
        what="A ready client",
        selector="app=client",
    )
    return PodReference(primary.name, DEMO, key_of(pod).name)


async def enter_client(primary: LabCluster, command: Sequence[str]) -> Entrance:
    """How to run a command in the client pod."""
    return enter_pod(await find_client(primary), "client", command)


async def enter_prober(primary: LabCluster) -> Entrance:
    """How to run the prober in the client pod."""
    return await enter_client(primary, ["python", "-m", "isthmus.lab.prober", ECHO_URL])
