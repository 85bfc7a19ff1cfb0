"""The statsd bridge's composition root: mapping, bridge, inlets and page, and nothing else."""

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog
import uvloop
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import stop_signal, task_scope
from isthmus.lib.log import configure_logging
from isthmus.statsd.bridge import Bridge
from isthmus.statsd.families import Families, Limits
from isthmus.statsd.mapper import Mapper
from isthmus.statsd.metrics import BridgeMetrics, names_in
from isthmus.statsd.pages import serving_metrics
from isthmus.statsd.reloading import Version, file_version, load_rules, watch_mapping
from isthmus.statsd.rules import Rules
from isthmus.statsd.tags import TagStyles
from isthmus.statsd.tcp import receiving_streams
from isthmus.statsd.udp import DatagramSocket, receiving_datagrams

logger = structlog.get_logger()

_SWEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """What the command line says. Without an address there is no inlet of its kind."""

    udp_address: HostPort | None
    tcp_address: HostPort | None
    http_address: HostPort
    mapping_config: Path | None
    limits: Limits
    cache_size: int
    styles: TagStyles


def run_statsd_bridge(options: BridgeOptions, *, log_level: str = "info") -> None:
    """Run until SIGTERM or SIGINT. Raises UserError for anything that the operator must mend first."""
    configure_logging(level=log_level)
    if options.udp_address is None and options.tcp_address is None:
        raise UserError("There is nothing to listen on; name --udp-address or --tcp-address.", exit_code=2)
    version = file_version(options.mapping_config) if options.mapping_config else None
    rules = load_rules(options.mapping_config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options, rules, version))


async def _serve(options: BridgeOptions, rules: Rules, version: Version) -> None:
    stop, reload = stop_signal(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload.set)

    def make_mapper(rules: Rules) -> Mapper:
        return Mapper(rules, cache_size=options.cache_size)

    own = CollectorRegistry()
    for standard in (ProcessCollector, PlatformCollector, GCCollector):
        standard(registry=own)
    datagrams: DatagramSocket | None = None
    families = Families(options.limits, now=loop.time())
    bridge = Bridge(make_mapper(rules), families, styles=options.styles, cache_size=options.cache_size)
    own.register(BridgeMetrics(bridge, lambda: datagrams.drops() if datagrams else 0))
    families.reserve(names_in(own))
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(task_scope())
        ports = dict[str, int]()
        if options.udp_address is not None:
            datagrams = await stack.enter_async_context(
                receiving_datagrams(options.udp_address, bridge.take, bridge.counts)
            )
            ports["udp"] = datagrams.port
        if options.tcp_address is not None:
            ports["tcp"] = await stack.enter_async_context(
                receiving_streams(options.tcp_address, bridge.take, bridge.counts)
            )
        # Last: who finds the page finds the inlets open.
        ports["http"] = await stack.enter_async_context(serving_metrics(options.http_address, own, families))
        tasks.serve(_sweep(bridge), name="sweep")
        if options.mapping_config is not None:
            watch = watch_mapping(options.mapping_config, bridge, make_mapper, reload, in_force=version)
            tasks.serve(watch, name="mapping")
        logger.info("serving", ports=ports, mappings=len(rules.rules))
        await stop.wait()
        logger.info("stopping")


async def _sweep(bridge: Bridge) -> NoReturn:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        bridge.sweep(loop.time())
