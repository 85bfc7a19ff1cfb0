"""The policy server's composition root: rules, lists, quotas, pods, gRPC and pages are wired, no more."""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import NoReturn

import structlog
import uvloop
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from isthmus.apps.policy_identity import Shown, proving_member, showing_certificate
from isthmus.apps.policy_options import Pilot, PolicyOptions, find_pilot, own_cluster, read_mesh
from isthmus.config.mesh import MeshConfig
from isthmus.kube.access import Access
from isthmus.kube.client import running_client
from isthmus.lib.garbage import collecting_between_bursts
from isthmus.lib.lifecycle import stop_signal, task_scope
from isthmus.lib.log import configure_logging
from isthmus.model.identity import TrustDomain
from isthmus.policy.checks import Checks, Method
from isthmus.policy.feeds import Feeds, running_feeds
from isthmus.policy.files import load_policies
from isthmus.policy.limits import Limits
from isthmus.policy.metrics import PolicyMetrics
from isthmus.policy.pages import serving_monitoring
from isthmus.policy.pilot_channel import PilotChannel
from isthmus.policy.pilot_feed import PilotFeed
from isthmus.policy.quotas import MemoryQuotas
from isthmus.policy.redis_quotas import RedisQuotas, sharing_quotas
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.server import Secure, serving_policy
from isthmus.policy.tally import Tally
from isthmus.policy.watching import PolicyWatch
from isthmus.policy.workloads import WorkloadIndex

logger = structlog.get_logger()

_SWEEP_SECONDS = 5.0


class _Readiness:
    """What is awaited, by name: policies, a first try of lists and pods, a certificate, then calls."""

    def __init__(self, feeds: Feeds) -> None:
        self.watch: PolicyWatch | None = None
        self.pods: PilotFeed | None = None
        self.shown: Shown | None = None
        self.serving = False
        self._feeds = feeds

    def _awaited(self) -> dict[str, asyncio.Event]:
        events = {f"list {feed.source.url}": feed.tried for feed in self._feeds.status()}
        if self.watch is not None:
            events["policies"] = self.watch.settled
        if self.pods is not None:
            events["pods of the mesh"] = self.pods.tried
        if self.shown is not None:
            events["a certificate"] = self.shown.ready
        return events

    def pending(self) -> list[str]:
        """Empty when checks are answered."""
        if self.serving:
            return []
        return [name for name, event in self._awaited().items() if not event.is_set()] or ["gRPC"]

    async def settled(self) -> None:
        """Until all is read as far as it can be: half of the policies answer no check."""
        while unset := [event for event in self._awaited().values() if not event.is_set()]:
            await unset[0].wait()


def run_policy(options: PolicyOptions, *, log_level: str = "info") -> None:
    """Run until SIGTERM or SIGINT. Raises UserError for anything that the operator must mend first."""
    mesh = read_mesh(options)
    rulebook = Rulebook(root_namespace=options.root_namespace or mesh.root_namespace)
    for found in load_policies(options.rules):
        refusal = rulebook.apply(found).refusal
        if refusal is not None:
            raise refusal
    pilot = find_pilot(options, mesh, os.environ)
    configure_logging(level=log_level)
    access = None if options.rules else own_cluster(options.kubeconfig, options.context)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options, mesh, rulebook, access, pilot))


async def _serve(
    options: PolicyOptions, mesh: MeshConfig, rulebook: Rulebook, access: Access | None, pilot: Pilot | None
) -> None:
    stop = stop_signal()
    tally, local, pods = Tally(), MemoryQuotas(), WorkloadIndex()
    domain = TrustDomain(mesh.trust_domain, mesh.trust_domain_aliases)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(collecting_between_bursts())
        feeds = await stack.enter_async_context(running_feeds())
        shared: RedisQuotas | None = None
        if options.redis_url:
            shared = await stack.enter_async_context(sharing_quotas(options.redis_url, local))
        quotas = shared or local
        readiness = _Readiness(feeds)
        metrics = CollectorRegistry()
        policy_metrics = PolicyMetrics(rulebook, tally, feeds, local, shared)
        metrics.register(policy_metrics)
        for standard in (ProcessCollector, PlatformCollector, GCCollector):
            standard(registry=metrics)
        monitoring_port = await stack.enter_async_context(
            serving_monitoring(options.monitoring_address, readiness.pending, metrics, rulebook)
        )
        tasks = await stack.enter_async_context(task_scope())
        tasks.serve(_sweep(local), name="sweep")
        changed = _changed(rulebook, feeds, tally)
        changed()
        if access is not None:
            client = await stack.enter_async_context(running_client(access))
            readiness.watch = PolicyWatch(client, rulebook, changed)
            watching = await stack.enter_async_context(task_scope())
            watching.serve(readiness.watch.run(), name="policies")
        if pilot is not None:
            dial = PilotChannel(pilot.address, pilot.credentials)
            readiness.pods = policy_metrics.pods = PilotFeed(dial, pods, node=pilot.node)
            tasks.serve(readiness.pods.follow(), name="pods")
            readiness.shown = await stack.enter_async_context(showing_certificate(pilot))
        checks = Checks(
            rulebook, trust_domain=domain, workloads=pods, lists=feeds.entries, quotas=quotas, tally=tally
        )
        methods = {**checks.methods(), **Limits(rulebook, quotas=quotas, tally=tally).methods()}
        stopped = tasks.spawn(stop.wait(), name="stop")
        settled = tasks.spawn(readiness.settled(), name="settled")
        await asyncio.wait((stopped, settled), return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            ports = await _listen(stack, options, methods, readiness.shown, domain)
            readiness.serving = True
            logger.info("serving", **ports, monitoring_port=monitoring_port)
            await stop.wait()
        readiness.serving = False
        logger.info("stopping")


async def _listen(
    stack: AsyncExitStack,
    options: PolicyOptions,
    methods: dict[str, Method],
    shown: Shown | None,
    domain: TrustDomain,
) -> dict[str, int]:
    """Answer calls, in plain text and to proxies that prove who they are; the ports."""
    ports = {"grpc_port": await stack.enter_async_context(serving_policy(options.grpc_address, methods))}
    if shown is not None:
        secure = Secure(shown.credentials(), proving_member(domain))
        ports["grpc_tls_port"] = await stack.enter_async_context(
            serving_policy(options.tls_address, methods, secure=secure, option="--tls-address")
        )
    return ports


def _changed(rulebook: Rulebook, feeds: Feeds, tally: Tally) -> Callable[[], None]:
    """To be called after each change of the rules."""

    def changed() -> None:
        feeds.want(rulebook.sources())
        in_force = set(rulebook.labels())
        tally.forget(lambda label: label not in in_force)

    return changed


async def _sweep(quotas: MemoryQuotas) -> NoReturn:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        quotas.sweep()
