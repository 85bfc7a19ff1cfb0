"""`isthmus lab status`: which clusters are up, what of them runs, and every pod."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console

from isthmus.kube.access import access_from_file
from isthmus.kube.client import running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lab.apply import kind_named
from isthmus.lab.controllers.objects import entries, section
from isthmus.lab.faults.record import read_records
from isthmus.lab.plan import ClusterPlan
from isthmus.lab.processes import NAMES, LabProcess
from isthmus.lab.reference import PodReference


class PodStatus(msgspec.Struct, frozen=True):
    """One pod, as the API server shows it."""

    name: str
    phase: str
    ready: bool
    ip: str


class ClusterStatus(msgspec.Struct, frozen=True):
    """One cluster. `problem` says why its pods are not known, "" where they are; `faults` what was broken."""

    name: str
    server: str
    kubeconfig: str
    processes: dict[str, bool]
    pods: list[PodStatus]
    problem: str
    faults: list[str]


class LabStatus(msgspec.Struct, frozen=True):
    """The whole lab; no clusters: none is up."""

    clusters: list[ClusterStatus]


async def read_status(plans: Sequence[ClusterPlan]) -> LabStatus:
    """Ask all clusters at once; one that does not answer is shown as such."""
    return LabStatus(list(await asyncio.gather(*(_read_cluster(plan) for plan in plans))))


async def _read_cluster(plan: ClusterPlan) -> ClusterStatus:
    problem, pods = "", list[PodStatus]()
    try:
        async with running_client(access_from_file(plan.kubeconfig), timeout=3) as client:
            pods = [_pod(plan, item) for item in (await client.list(kind_named("Pod"))).items]
    except (ApiError, Unreachable) as error:
        problem = str(error)
    return ClusterStatus(
        name=plan.name,
        server=plan.api_url,
        kubeconfig=str(plan.kubeconfig),
        processes={name: LabProcess(plan, name).is_alive() for name in NAMES},
        pods=pods,
        problem=problem,
        faults=[each.describe(plan) for each in read_records(plan)],
    )


def _pod(plan: ClusterPlan, item: dict[str, Any]) -> PodStatus:
    metadata, status = item["metadata"], section(item, "status")
    ready = [each["status"] for each in entries(status, "conditions") if each["type"] == "Ready"]
    phase = "Terminating" if metadata.get("deletionTimestamp") else status.get("phase", "Pending")
    name = str(PodReference(plan.name, metadata["namespace"], metadata["name"]))
    return PodStatus(name, phase, ready == ["True"], status.get("podIP", ""))


def print_status(status: LabStatus, console: Console) -> None:
    """For people."""
    if not status.clusters:
        console.print("No lab is up; bring one up with `isthmus lab up`.")
        return
    lines = [("POD", "PHASE", "READY", "IP")]
    for cluster in status.clusters:
        dead = [name for name, alive in cluster.processes.items() if not alive]
        health = f"not running: {', '.join(dead)}" if dead else cluster.problem or "up"
        console.print(f"Cluster {cluster.name}: {cluster.server}, {health}", soft_wrap=True)
        for fault in cluster.faults:
            console.print(f"    broken on purpose: {fault}", soft_wrap=True)
        lines += [(pod.name, pod.phase, "yes" if pod.ready else "no", pod.ip) for pod in cluster.pods]
    if len(lines) > 1:
        console.print()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            console.print("  ".join(cells).rstrip(), soft_wrap=True)
