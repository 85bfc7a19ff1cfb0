"""The control plane's composition root: clusters, identity, translation, xDS and pages are wired, no more.

Order: the pages answer first (not ready, naming what is awaited); then the clusters are read, the
CA and the configuration objects; only then is xDS served, so that a proxy that reconnects is never given
less than it had.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import structlog
import uvloop
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from isthmus import __version__
from isthmus.apps.absent_pods import AbsentPods
from isthmus.apps.callers import reading
from isthmus.apps.pilot_config import MeshObjects, running_config, telling_of_idle
from isthmus.apps.pilot_foreseen import likely_proxies
from isthmus.apps.pilot_identity import MeshIdentity, running_identity
from isthmus.apps.pilot_inspection import VERSION, inspecting
from isthmus.apps.pilot_listeners import serving_plain, serving_proved
from isthmus.apps.pilot_options import (
    PilotOptions,
    mesh_config,
    own_cluster,
    own_namespace,
    plain_address,
)
from isthmus.apps.pilot_pages import Readiness, held_by, pages_of_proxy, status_of, sync_of
from isthmus.apps.pushing import Pushing
from isthmus.apps.telling import Telling
from isthmus.clusters.registry import Clusters, running_clusters
from isthmus.config.accepted_tls import PeerAuthentications
from isthmus.config.mesh import MeshConfig, describe_mesh_config
from isthmus.config.peer_authentication import KIND
from isthmus.dashboard.clusterz import ClusterMetrics, describe_clusters
from isthmus.dashboard.configz import describe_objects
from isthmus.dashboard.endpointz import describe_endpoints, describe_services
from isthmus.dashboard.mesh_metrics import MeshFigures, MeshMetrics
from isthmus.dashboard.mtlsz import describe_mtls
from isthmus.dashboard.server import Pages, serving_pages
from isthmus.dashboard.syncz import ProxySync, describe_connections, describe_sync, describe_watches
from isthmus.kube.access import Access
from isthmus.lib.files import allow_many_files
from isthmus.lib.garbage import collecting_between_bursts
from isthmus.lib.lifecycle import stop_signal, task_scope
from isthmus.lib.log import configure_logging
from isthmus.lib.slices import in_slices
from isthmus.model.proxy import Proxy
from isthmus.model.service import ClusterId
from isthmus.translate.catalogue import Catalogue
from isthmus.translate.workload_feed import Served, WorkloadFeed
from isthmus.xds.ads import running_ads
from isthmus.xds.grpc_faults import Faults
from isthmus.xds.hub import Hub
from isthmus.xds.metrics import HubMetrics

logger = structlog.get_logger()


def run_pilot(options: PilotOptions, *, log_level: str = "info") -> None:
    """Run until SIGTERM or SIGINT. Raises UserError for anything that the operator must mend first."""
    configure_logging(level=log_level)
    allow_many_files()
    access = own_cluster(options)
    mesh = mesh_config(options.mesh_config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options, access, mesh))


async def _serve(options: PilotOptions, access: Access, mesh: MeshConfig) -> None:
    stop = stop_signal()
    loop = asyncio.get_running_loop()
    began = loop.time()
    home = ClusterId(options.cluster_id)
    namespace = own_namespace(options)
    plain = None if options.xds_address is None else plain_address(options.xds_address, mesh)
    async with AsyncExitStack() as stack:
        keep_what_is_there = await stack.enter_async_context(collecting_between_bursts())
        clusters = await stack.enter_async_context(
            running_clusters(
                access,
                cluster_id=home,
                namespace=namespace,
                networks=mesh.networks,
                stale=mesh.isthmus.stale_endpoints,
                heal=mesh.isthmus.heal_endpoints,
                certificate_life=mesh.isthmus.certificates.lifetime.total_seconds(),
            )
        )
        identity = await stack.enter_async_context(
            running_identity(access, clusters, mesh, home=home, namespace=namespace)
        )
        objects = await stack.enter_async_context(running_config(access, root_namespace=mesh.root_namespace))
        readiness = Readiness(clusters, identity, objects)
        peers = PeerAuthentications(mesh.root_namespace, objects.peers)
        catalogue = Catalogue(clusters.view, mesh, home=home, peers=peers, policies=objects.policies)
        feed = WorkloadFeed(clusters.view, namespace=namespace)
        hub = Hub(Served(catalogue, feed))
        pushing = Pushing(catalogue, feed, hub)
        figures = MeshFigures(clusters.view, pushing.triggers, clusters.events, clusters.timeouts)
        faults, absent = Faults(), AbsentPods(clusters.view)
        metrics = CollectorRegistry()
        for collector in (
            HubMetrics(hub, faults),
            MeshMetrics(figures, version=__version__, uptime=lambda: loop.time() - began),
            ClusterMetrics(clusters.status),
            identity.metrics,
            objects.metrics,
        ):
            metrics.register(collector)
        for standard in (ProcessCollector, PlatformCollector, GCCollector):
            standard(registry=metrics)

        def connected() -> Sequence[ProxySync]:
            return [sync_of(one) for one in hub.clients()]

        pages = Pages(
            pending=readiness.pending,
            metrics=metrics,
            version=VERSION,
            debug={
                "adsz": lambda: describe_watches(connected()),
                "clusterz": lambda: describe_clusters(
                    status_of(clusters, identity.troubles(), absent.remarks(), {home: objects.remarks()})
                ),
                "configz": lambda: describe_objects((objects.peers, objects.policies), {KIND: peers.idle()}),
                "connections": lambda: describe_connections(connected()),
                "endpointShardz": lambda: describe_endpoints(clusters.view),
                "endpointz": lambda: describe_endpoints(clusters.view),
                "mesh": lambda: describe_mesh_config(mesh),
                "mtlsz": lambda: describe_mtls(clusters.view, peers),
                "registryz": lambda: describe_services(clusters.view),
                "syncz": lambda: describe_sync(connected()),
            },
            of_proxy=pages_of_proxy(hub, connected),
            may_read=reading(identity.readers),
        )
        http_ports = await stack.enter_async_context(serving_pages(options.http_addresses, pages))
        logger.info("pages are served", ports=list(http_ports))

        stack.enter_context(clusters.view.subscribe(pushing.telling))
        stack.enter_context(objects.peers.subscribe(pushing.peers_changed))
        stack.enter_context(objects.peers.subscribe(telling_of_idle(peers)))
        stack.enter_context(objects.policies.subscribe(pushing.policy_changed))
        tasks = await stack.enter_async_context(task_scope())
        tasks.serve(pushing.telling.serve(), name="telling")
        tasks.serve(absent.serve(), name="absent pods")
        stopped = tasks.spawn(stop.wait(), name="stop")
        likely = likely_proxies(home, namespace, plain=plain is not None)
        prepared = tasks.spawn(
            _prepared(clusters, identity, objects, pushing.telling, hub, likely), name="prepared"
        )
        await asyncio.wait((stopped, prepared), return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            keep_what_is_there()
            ads = await stack.enter_async_context(running_ads(hub))
            inspect = inspecting(
                pages,
                connected,
                lambda proxy: held_by(hub, proxy),
                home=home,
                namespace=namespace,
            )
            proved = await stack.enter_async_context(
                serving_proved(identity, ads, options.xds_tls_addresses, faults, inspect)
            )
            port = None
            if plain is not None:
                port = await stack.enter_async_context(serving_plain(plain, identity, ads, faults))
            readiness.serving = True
            logger.info(
                "serving", xds_port=port, xds_tls_ports=list(proved), namespace=namespace, cluster=home
            )
            await stop.wait()
        readiness.serving = False
        logger.info("stopping")


async def _prepared(
    clusters: Clusters,
    identity: MeshIdentity,
    objects: MeshObjects,
    telling: Telling,
    hub: Hub,
    likely: Sequence[Proxy],
) -> None:
    """Wait until proxies can be answered, and at once."""
    await clusters.settled()
    await identity.authority.ready()
    await objects.settled()
    await telling.told()
    await in_slices(hub.foresee(likely))
