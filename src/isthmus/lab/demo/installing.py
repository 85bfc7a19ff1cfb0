"""Installs the mesh in a lab as an operator would: the charts by the real helm, the remotes by `cluster add`.

Every function may be called again: it finds what is there and makes it right.
"""

import asyncio
import os

from isthmus.kube.kinds import untyped
from isthmus.lab.demo.deploy import SYSTEM, LabCluster, is_complete, until
from isthmus.lab.helm import MAJOR, find_helm
from isthmus.operate import charts, joining
from isthmus.operate.rights import TIERS

TOKEN_SECONDS = 24 * 3600
_DEPLOYMENTS = untyped("apps", "v1", "deployments", "Deployment")


async def install_control_plane(cluster: LabCluster, *options: str) -> None:
    """The chart istio, with helm's `options`, all of its Deployments running and ready."""
    await _install(cluster, charts.CONTROL_PLANE, *options)
    found = (await cluster.client.list(_DEPLOYMENTS, SYSTEM)).items
    await asyncio.gather(*(_complete(cluster, each["metadata"]["name"]) for each in found))


async def install_remote(primary: LabCluster, remote: LabCluster, *options: str) -> None:
    """The chart istio-remote, with helm's `options`, told of the control plane's pods as they are now."""
    endpoints = await charts.find_endpoints(primary.site, remote.site, SYSTEM)
    await _install(remote, charts.REMOTE, *charts.endpoint_options(endpoints), *options)


async def join(primary: LabCluster, remote: LabCluster) -> None:
    """A reader's account in the remote, and a labelled Secret with its token in the first cluster."""
    wish = joining.Wish(
        name=remote.name, namespace=SYSTEM, tiers=TIERS, access=remote.access, seconds=TOKEN_SECONDS
    )
    await joining.join(primary.site, remote.site, wish)


async def _install(cluster: LabCluster, chart: str, *options: str) -> None:
    # Not the settings and caches of whoever runs the lab: those would count, and new ones would stay behind.
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(cluster.plan.directory / "helm")}
    helm = charts.Helm(str(find_helm()), MAJOR, environment)
    release = charts.Release(chart, SYSTEM, kubeconfig=cluster.plan.kubeconfig)
    named = ("--set", f"global.multiCluster.clusterName={cluster.name}")
    await charts.install(helm, release, [*named, *options], dry_run=False)


async def _complete(cluster: LabCluster, name: str) -> None:
    await until(
        cluster,
        "Deployment",
        SYSTEM,
        lambda found: found["metadata"]["name"] == name and is_complete(found),
        what=f"A ready {name}",
    )
