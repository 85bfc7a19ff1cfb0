"""The control plane's composition root: clusters, translation, xDS and pages, wired and nothing else.

Order: the pages answer first (not ready, naming what is awaited); then the clusters are read; only when they
have settled is xDS served, so that a proxy that reconnects is never given less than it had.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvloop
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from isthmus.clusters.registry import Clusters, running_clusters
from isthmus.config.mesh import MeshConfig, read_mesh_config
from isthmus.dashboard.clusterz import ClusterMetrics, describe_clusters
from isthmus.dashboard.config_dump import describe_config
from isthmus.dashboard.endpointz import describe_endpoints, describe_services
from isthmus.dashboard.server import Pages, serving_pages
from isthmus.dashboard.syncz import ProxySync, TypeSync, describe_sync
from isthmus.kube.access import SERVICE_ACCOUNT, Access, access_from_file, access_in_cluster
from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError
from isthmus.lib.garbage import collecting_between_bursts
from isthmus.lib.lifecycle import stop_signal, task_scope
from isthmus.lib.log import configure_logging
from isthmus.model.resources import Resource
from isthmus.model.service import ClusterId
from isthmus.model.view import Changes
from isthmus.translate.catalogue import Catalogue
from isthmus.translate.workload_feed import Served, WorkloadFeed
from isthmus.xds.ads import serving_ads
from isthmus.xds.hub import ClientStatus, Hub
from isthmus.xds.metrics import HubMetrics

logger = structlog.get_logger()

MOUNTED_MESH_CONFIG = Path("/etc/istio/config/mesh")


@dataclass(frozen=True, slots=True)
class PilotOptions:
    """What the command line says; None means: find out.

    Without `kubeconfig` and `context` a process in a pod uses its service account, any other one the
    default kubeconfig.
    """

    kubeconfig: Path | None
    context: str | None
    namespace: str | None
    cluster_id: str
    xds_address: HostPort
    http_addresses: Sequence[HostPort]
    mesh_config: Path | None


class _Readiness:
    """What the process still waits for, by name; nothing once it serves, its end once it stops."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self.serving = False

    def pending(self) -> list[str]:
        """Empty when proxies can be answered."""
        if self.serving:
            return []
        awaited = [
            f"cluster {one.name} ({', '.join(filter(None, (one.state.value, one.reason)))})"
            for one in self._clusters.status()
            if not one.served
        ]
        return awaited or ["xDS"]


def run_pilot(options: PilotOptions, *, log_level: str = "info") -> None:
    """Run until SIGTERM or SIGINT. Raises UserError for anything that the operator must mend first."""
    configure_logging(level=log_level)
    access = _own_cluster(options)
    mesh = _mesh_config(options.mesh_config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options, access, mesh))


async def _serve(options: PilotOptions, access: Access, mesh: MeshConfig) -> None:
    stop = stop_signal()
    home = ClusterId(options.cluster_id)
    namespace = options.namespace or _own_namespace()
    async with AsyncExitStack() as stack:
        clusters = await stack.enter_async_context(
            running_clusters(
                access,
                cluster_id=home,
                namespace=namespace,
                networks=mesh.networks,
                stale=mesh.isthmus.stale_endpoints,
            )
        )
        readiness = _Readiness(clusters)
        catalogue = Catalogue(clusters.view, mesh, home=home)
        feed = WorkloadFeed(clusters.view, namespace=namespace)
        hub = Hub(Served(catalogue, feed))
        metrics = CollectorRegistry()
        for collector in (HubMetrics(hub), ClusterMetrics(clusters.status)):
            metrics.register(collector)
        for standard in (ProcessCollector, PlatformCollector, GCCollector):
            standard(registry=metrics)
        http_ports = await stack.enter_async_context(
            serving_pages(
                options.http_addresses,
                Pages(
                    pending=readiness.pending,
                    metrics=metrics,
                    clusterz=lambda: describe_clusters(clusters.status()),
                    syncz=lambda: describe_sync(map(_sync_of, hub.clients())),
                    endpointz=lambda: describe_endpoints(clusters.view),
                    registryz=lambda: describe_services(clusters.view),
                    config_dump=lambda proxy: _config_of(hub, proxy),
                ),
            )
        )
        logger.info("pages are served", ports=list(http_ports))

        def tell(changes: Changes) -> None:
            hub.publish([*catalogue.apply(changes), *feed.apply(changes)])
            hub.rescope(catalogue.rescoped(changes))

        stack.enter_context(clusters.view.subscribe(tell))
        tasks = await stack.enter_async_context(task_scope())
        stopped = tasks.spawn(stop.wait(), name="stop")
        settled = tasks.spawn(clusters.settled(), name="settled")
        await asyncio.wait((stopped, settled), return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            await stack.enter_async_context(collecting_between_bursts())
            port = await stack.enter_async_context(serving_ads(str(options.xds_address), hub))
            readiness.serving = True
            logger.info("serving", xds_port=port, namespace=namespace, cluster=home)
            await stop.wait()
        readiness.serving = False
        logger.info("stopping")


def _sync_of(client: ClientStatus) -> ProxySync:
    types = {
        one.type_url: TypeSync(one.sent, one.acked, one.synced, one.nack.reason if one.nack else "")
        for one in client.types
    }
    return ProxySync(client.proxy, client.peer, types)


def _config_of(hub: Hub, proxy: str) -> dict[str, Any] | None:
    """The configuration of a proxy named `POD.NAMESPACE` or by its node id."""
    for client in hub.clients():
        if proxy in (client.proxy.node_id, f"{client.proxy.pod}.{client.proxy.namespace}"):
            held: Mapping[str, Mapping[str, Resource]] = hub.held(client.proxy.node_id)
            return describe_config({kind: tuple(named.values()) for kind, named in held.items()})
    return None


def _own_cluster(options: PilotOptions) -> Access:
    if options.kubeconfig is None and options.context is None and (SERVICE_ACCOUNT / "token").is_file():
        return access_in_cluster()
    return access_from_file(options.kubeconfig, options.context)


def _own_namespace() -> str:
    file = SERVICE_ACCOUNT / "namespace"
    return file.read_text().strip() if file.is_file() else "istio-system"


def _mesh_config(file: Path | None) -> MeshConfig:
    if file is None and not MOUNTED_MESH_CONFIG.is_file():
        return MeshConfig()
    try:
        return read_mesh_config((file or MOUNTED_MESH_CONFIG).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The mesh config {file} cannot be read: {error}; correct --mesh-config.") from error
