"""The policy server's composition root: rules, lists, quotas, gRPC and pages, wired and nothing else."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog
import uvloop
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from isthmus.kube.access import SERVICE_ACCOUNT, Access, access_from_file, access_in_cluster
from isthmus.kube.client import running_client
from isthmus.lib.address import HostPort
from isthmus.lib.garbage import collecting_between_bursts
from isthmus.lib.lifecycle import stop_signal, task_scope
from isthmus.lib.log import configure_logging
from isthmus.model.identity import TrustDomain
from isthmus.policy.checks import Checks
from isthmus.policy.client import NoWorkloads
from isthmus.policy.feeds import Feeds, running_feeds
from isthmus.policy.files import load_policies
from isthmus.policy.limits import Limits
from isthmus.policy.metrics import PolicyMetrics
from isthmus.policy.pages import serving_monitoring
from isthmus.policy.quotas import MemoryQuotas
from isthmus.policy.redis_quotas import RedisQuotas, sharing_quotas
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.server import serving_policy
from isthmus.policy.tally import Tally
from isthmus.policy.watching import PolicyWatch

logger = structlog.get_logger()

_SWEEP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """What the command line says. `rules`: files instead of the Kubernetes API. `redis_url` "": in memory."""

    rules: tuple[Path, ...]
    kubeconfig: Path | None
    context: str | None
    root_namespace: str
    trust_domain: str
    trust_domain_aliases: tuple[str, ...]
    redis_url: str
    grpc_address: HostPort
    monitoring_address: HostPort


class _Readiness:
    """What is awaited, by name: the policies, a first try of each list, then that calls are served."""

    def __init__(self, feeds: Feeds) -> None:
        self.watch: PolicyWatch | None = None
        self.serving = False
        self._feeds = feeds

    def pending(self) -> list[str]:
        """Empty when checks are answered."""
        if self.serving:
            return []
        unread = self.watch is not None and not self.watch.settled.is_set()
        lists = [f"list {feed.source.url}" for feed in self._feeds.status() if not feed.tried.is_set()]
        return [*(["policies"] if unread else []), *lists] or ["gRPC"]

    async def settled(self) -> None:
        """Until policies and lists are read as far as they can be: half of them answer no check."""
        if self.watch is not None:
            await self.watch.settled.wait()
        for feed in self._feeds.status():
            await feed.tried.wait()


def run_policy(options: PolicyOptions, *, log_level: str = "info") -> None:
    """Run until SIGTERM or SIGINT. Raises UserError for anything that the operator must mend first."""
    rulebook = Rulebook(root_namespace=options.root_namespace)
    for found in load_policies(options.rules):
        refusal = rulebook.apply(found).refusal
        if refusal is not None:
            raise refusal
    configure_logging(level=log_level)
    access = None if options.rules else own_cluster(options.kubeconfig, options.context)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options, rulebook, access))


def own_cluster(kubeconfig: Path | None, context: str | None) -> Access:
    """In a pod its service account, unless a kubeconfig is named; elsewhere the default one."""
    if kubeconfig is None and context is None and (SERVICE_ACCOUNT / "token").is_file():
        return access_in_cluster()
    return access_from_file(kubeconfig, context)


async def _serve(options: PolicyOptions, rulebook: Rulebook, access: Access | None) -> None:
    stop = stop_signal()
    tally, local = Tally(), MemoryQuotas()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(collecting_between_bursts())
        feeds = await stack.enter_async_context(running_feeds())
        shared: RedisQuotas | None = None
        if options.redis_url:
            shared = await stack.enter_async_context(sharing_quotas(options.redis_url, local))
        quotas = shared or local

        def changed() -> None:
            feeds.want(rulebook.sources())
            in_force = set(rulebook.labels())
            tally.forget(lambda label: label not in in_force)

        changed()
        readiness = _Readiness(feeds)
        metrics = CollectorRegistry()
        metrics.register(PolicyMetrics(rulebook, tally, feeds, local, shared))
        for standard in (ProcessCollector, PlatformCollector, GCCollector):
            standard(registry=metrics)
        monitoring_port = await stack.enter_async_context(
            serving_monitoring(options.monitoring_address, readiness.pending, metrics, rulebook)
        )
        tasks = await stack.enter_async_context(task_scope())
        tasks.serve(_sweep(local), name="sweep")
        if access is not None:
            client = await stack.enter_async_context(running_client(access))
            readiness.watch = PolicyWatch(client, rulebook, changed)
            watching = await stack.enter_async_context(task_scope())
            watching.serve(readiness.watch.run(), name="policies")
        checks = Checks(
            rulebook,
            trust_domain=TrustDomain(options.trust_domain, options.trust_domain_aliases),
            workloads=NoWorkloads(),
            lists=feeds.entries,
            quotas=quotas,
            tally=tally,
        )
        methods = {**checks.methods(), **Limits(rulebook, quotas=quotas, tally=tally).methods()}
        stopped = tasks.spawn(stop.wait(), name="stop")
        settled = tasks.spawn(readiness.settled(), name="settled")
        await asyncio.wait((stopped, settled), return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            grpc_port = await stack.enter_async_context(serving_policy(options.grpc_address, methods))
            readiness.serving = True
            logger.info("serving", grpc_port=grpc_port, monitoring_port=monitoring_port)
            await stop.wait()
        readiness.serving = False
        logger.info("stopping")


async def _sweep(quotas: MemoryQuotas) -> NoReturn:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        quotas.sweep()
