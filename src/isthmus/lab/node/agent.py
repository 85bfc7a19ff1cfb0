"""The composition of one node: what watches what, and in which order it all comes up."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

from isthmus.kube.access import access_from_file
from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import ENDPOINT_SLICE, SERVICE, Kind
from isthmus.kube.objects import EndpointSlice, Service
from isthmus.kube.watch import Event, Removed, Synced, Upserted, watch_kind
from isthmus.lab.images import prepare_images
from isthmus.lab.network import empty_namespaces, pod_namespaces, remove_links
from isthmus.lab.node.configs import CONFIG_KINDS, ConfigName, Configs
from isthmus.lab.node.dns_server import running_dns
from isthmus.lab.node.dns_zone import answer
from isthmus.lab.node.endpoints import Services
from isthmus.lab.node.events import Events
from isthmus.lab.node.kubelet_api import running_kubelet_api
from isthmus.lab.node.launching import root_folder
from isthmus.lab.node.pods import NodeParts
from isthmus.lab.node.podspec import POD
from isthmus.lab.node.registration import node_capacity, register_node, serve_lease
from isthmus.lab.node.roster import Roster
from isthmus.lab.node.sandbox import POD_LINK, PodAddresses
from isthmus.lab.node.service_proxy import ServiceProxy, restore_rules
from isthmus.lab.pki import PkiFiles
from isthmus.lab.plan import KUBELET_PORT, ClusterPlan
from isthmus.lib.lifecycle import TaskScope, task_scope

T = TypeVar("T")
_DNS_PORT = 53


@asynccontextmanager
async def running_node(plan: ClusterPlan) -> AsyncGenerator[None]:
    """Run a cluster's node until the block ends; yields when it is registered, and all is known and served.

    Must run as root in the node's network namespace. Its pods end with it.
    """
    remove_leftovers(plan)
    prepare_images()
    access = access_from_file(plan.directory / "node.kubeconfig")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(running_client(access))
        services = Services()
        await stack.enter_async_context(
            running_dns(str(plan.dns_address), _DNS_PORT, partial(answer, services))
        )
        scope = await stack.enter_async_context(task_scope())
        proxy = ServiceProxy(services, restore_rules)
        synced = [
            _watch(scope, client, SERVICE, partial(_take_service, services, proxy)),
            _watch(scope, client, ENDPOINT_SLICE, partial(_take_slice, services, proxy)),
        ]
        uid = await register_node(client, plan, node_capacity())
        scope.serve(serve_lease(client, plan, uid), name="lease")
        roster = _start_pods(plan, client, services, scope, synced)
        await stack.enter_async_context(
            running_kubelet_api(
                str(plan.node_address), KUBELET_PORT, PkiFiles(plan.directory / "pki"), roster.pod
            )
        )
        for event in synced:
            await event.wait()
        scope.serve(proxy.serve(), name="service proxy")
        await proxy.settled()
        yield


def remove_leftovers(plan: ClusterPlan) -> None:
    """End pods of an earlier run of this node, if it was killed, and remove their namespaces and files."""
    remove_links(POD_LINK)
    empty_namespaces(pod_namespaces(plan))
    shutil.rmtree(plan.directory / "run" / "pods", ignore_errors=True)
    root_folder(plan).mkdir(parents=True, exist_ok=True)


def _start_pods(
    plan: ClusterPlan, client: Client, services: Services, scope: TaskScope, synced: list[asyncio.Event]
) -> Roster:
    events = Events(client, plan.node_name)
    scope.serve(events.serve(), name="events")

    def configs_changed(name: ConfigName) -> None:
        roster.configs_changed(name)

    configs = Configs(client, configs_changed)
    parts = NodeParts(
        plan=plan,
        client=client,
        events=events,
        configs=configs,
        services=lambda: list(services.services.values()),
        addresses=PodAddresses(plan),
        capacity=node_capacity(),
    )
    roster = Roster(parts, scope)
    synced += [_watch(scope, client, kind, configs.deliver) for kind in CONFIG_KINDS]
    synced.append(_watch(scope, client, POD, roster.deliver))
    return roster


def _watch(
    scope: TaskScope, client: Client, kind: Kind[T], deliver: Callable[[Event[T]], None]
) -> asyncio.Event:
    """Watch a kind in all namespaces; the event is set once all of it was delivered."""
    synced = asyncio.Event()

    def take(event: Event[T]) -> None:
        deliver(event)
        if isinstance(event, Synced):
            synced.set()

    scope.serve(watch_kind(client, kind, take), name=f"watch {kind.plural}")
    return synced


def _take_service(services: Services, proxy: ServiceProxy, event: Event[Service]) -> None:
    match event:
        case Upserted(service):
            proxy.changed([services.put_service(service)])
        case Removed(service):
            proxy.changed([services.drop_service(service)])
        case Synced():
            return


def _take_slice(services: Services, proxy: ServiceProxy, event: Event[EndpointSlice]) -> None:
    match event:
        case Upserted(slice_):
            proxy.changed(services.put_slice(slice_))
        case Removed(slice_):
            proxy.changed(services.drop_slice(slice_))
        case Synced():
            return
