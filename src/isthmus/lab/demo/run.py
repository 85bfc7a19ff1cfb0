"""`isthmus lab demo`: from nothing, or from where an earlier run stopped, to a mesh that has shown itself."""

import asyncio
import sys
from collections.abc import Sequence

import msgspec

from isthmus.lab.demo.deploy import (
    LabCluster,
    connected,
    deploy_workloads,
    enter_prober,
    find_client,
)
from isthmus.lab.demo.installing import install_control_plane, install_remote, join
from isthmus.lab.demo.observe import running_prober
from isthmus.lab.demo.steps import STEPS, Stage, Step
from isthmus.lab.demo.workloads import ECHO_URL
from isthmus.lab.plan import ClusterPlan
from isthmus.lab.reference import PodReference
from isthmus.lab.up import DEFAULT_CLUSTERS, Say, bring_up, check_machine
from isthmus.lib.binaries import find_kubectl

REPLICAS = 2


class Report(msgspec.Struct, frozen=True):
    """The demonstration's last line, as JSON."""

    steps: list[Step]


def run_demo(say: Say) -> Report:
    """Everything; the lab is left up."""
    check_machine("demo")
    return asyncio.run(_demonstrate(bring_up(DEFAULT_CLUSTERS, say), say))


async def _demonstrate(plans: Sequence[ClusterPlan], say: Say) -> Report:
    async with connected(plans) as (primary, remote):
        await prepare(primary, [remote], say)
        say(f"Asking {ECHO_URL} from the client pod, over one connection, again and again.")
        async with running_prober(await enter_prober(primary)) as observed:
            stage = Stage(primary, remote, observed, say)
            for step in STEPS:
                await step(stage)
        for line in how_to_go_on(await find_client(primary)):
            say(line)
    return Report(stage.steps)


async def prepare(primary: LabCluster, remotes: Sequence[LabCluster], say: Say) -> None:
    """Control plane, joined remotes and workloads, all ready."""
    say(f"Installing the chart istio in {primary.name}: the control plane.")
    await install_control_plane(primary)
    for remote in remotes:
        say(f"Installing the chart istio-remote in {remote.name}: where its pods find the control plane.")
        await install_remote(primary, remote)
        say(f"Joining {remote.name}: a reader's account in it, and in {primary.name} a Secret for that.")
        await join(primary, remote)
    say(f"Deploying echo in every cluster, and client in {primary.name}, each pod with its Envoy.")
    await deploy_workloads(primary, remotes, replicas=REPLICAS)


def how_to_go_on(client: PodReference) -> Sequence[str]:
    """What to try next, as commands that work where this one did."""
    program = sys.argv[0]
    return (
        "The lab stays up. To look around, as root:",
        f"    {program} lab status",
        f"    {program} lab exec {client} -- curl -s {ECHO_URL}",
        f"    {program} lab logs {client} -c istio-proxy",
        f'    eval "$({program} lab env {client.cluster})"',
        f"    {program} cluster list",
        f"    {find_kubectl()} get pods -A",
        f"To take it down: {program} lab down",
    )
