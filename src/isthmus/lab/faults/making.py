"""Brings one fault about in a cluster, and undoes it; undoing needs no memory and may be repeated."""

import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from isthmus.lab.faults.hop import running_hop
from isthmus.lab.faults.kinds import HOP_FAULTS, NETWORK_FAULTS, SKEW_SECONDS, Fault
from isthmus.lab.faults.packets import (
    HOP_MARK,
    break_connections,
    dropping_rules,
    leading_rules,
    put_rules,
    take_rules_away,
)
from isthmus.lab.pki import PkiFiles
from isthmus.lab.plan import ClusterPlan
from isthmus.lab.plan_file import read_neighbours
from isthmus.lab.processes import API_SERVER, LabProcess

_SKEWED = "isthmus.lab.faults.clock"


@asynccontextmanager
async def suffering(plan: ClusterPlan, fault: Fault) -> AsyncGenerator[None]:
    """The cluster has this fault until the block ends. It is run in the cluster's network namespace."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(undo, plan, fault)
        server = LabProcess(plan, API_SERVER)
        if fault in HOP_FAULTS:
            hop = await stack.enter_async_context(
                running_hop(
                    plan.api_url,
                    PkiFiles(plan.directory / "pki"),
                    address=plan.node_address,
                    make_socket=_marked_socket,
                )
            )
            hop.suffer(fault)
            put_rules(plan, fault, leading_rules(plan, hop.address))
            break_connections(plan)
        elif fault in NETWORK_FAULTS:
            others = [each for each in read_neighbours(plan.directory) if each.name != plan.name]
            put_rules(plan, fault, dropping_rules(plan, others, fault))
        elif fault is Fault.API_HANG:
            server.signal(signal.SIGSTOP)
        elif fault is Fault.API_STOP:
            await server.stop()
        elif fault is Fault.CLOCK_SKEW:
            await server.stop()
            await server.start(through=(_SKEWED, str(SKEW_SECONDS)))
        yield


async def undo(plan: ClusterPlan, fault: Fault) -> None:
    """Heal a fault, whether it is there as a whole, in part, or not at all."""
    server = LabProcess(plan, API_SERVER)
    if fault in HOP_FAULTS or fault in NETWORK_FAULTS:
        take_rules_away(plan, fault)
    elif fault is Fault.API_HANG:
        server.signal(signal.SIGCONT)
    elif not server.is_alive() or server.is_run_through(_SKEWED):
        await server.stop()
        await server.start()


def _marked_socket(address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, HOP_MARK)
    return made
