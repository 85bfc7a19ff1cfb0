"""Faults of a lab's cluster for tests: begun, ended, and always ended with the test."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from isthmus.lab.faults.command import heal, inject
from isthmus.lab.faults.kinds import Fault
from isthmus.lab.plan import ClusterPlan


async def breaking(plan: ClusterPlan, fault: Fault, seconds: float | None = None) -> None:
    """Break a cluster; it is in force when this returns."""
    lasting = None if seconds is None else timedelta(seconds=seconds)
    await asyncio.to_thread(inject, plan, fault, lasting)


async def healing(plan: ClusterPlan) -> list[str]:
    """Heal a cluster; what was said of it."""
    said: list[str] = []
    # `heal` may run an event loop of its own.
    await asyncio.to_thread(heal, plan, said.append)
    return said


@asynccontextmanager
async def broken(plan: ClusterPlan, fault: Fault) -> AsyncGenerator[None]:
    """A cluster with that fault until the block ends."""
    await breaking(plan, fault)
    try:
        yield
    finally:
        await healing(plan)
