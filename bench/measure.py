"""The measurement itself: proxies connect, endpoints change, and floors do the same beside it."""

import asyncio
import base64
import math
import statistics
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.children import Child, Json, running_child, usage
from bench.plan import Plan, Push
from bench.storm import measure_storm
from bench.tls import make_floor

_SETTLE = 0.3
_TIMEOUT = 60.0
_FLOORS = ("bench.bare", "bench.floor")
_TLS_FLOORS = ("bench.floor",)


@dataclass(slots=True)
class Side:
    """Measurements of one server, in seconds and bytes; one number a change."""

    connect_seconds: float = 0.0
    connect_cpu: float = 0.0
    connect_bytes: int = 0
    memory: int = 0
    last: list[float] = field(default_factory=list[float])
    median: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])
    client_cpu: list[float] = field(default_factory=list[float])

    def report(self) -> Json:
        """Medians over the changes; times in milliseconds."""
        return {
            "connect": {
                "seconds": round(self.connect_seconds, 3),
                "cpu_seconds": round(self.connect_cpu, 3),
                "bytes": self.connect_bytes,
            },
            "change": {
                "last_proxy_ms": _middle(self.last),
                "median_proxy_ms": _middle(self.median),
                "last_proxy_ms_best": _milliseconds(min(self.last, default=math.nan)),
                "cpu_ms": _middle(self.cpu),
                "client_cpu_ms": _middle(self.client_cpu),
            },
            "memory_mib": round(self.memory / 2**20, 1),
        }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)


def _middle(values: Sequence[float]) -> float:
    return _milliseconds(statistics.median(values)) if values else math.nan


@dataclass(frozen=True, slots=True)
class Floor:
    """A server that only sends ready messages, with proxies of its own."""

    name: str
    child: Child
    fleet: Child
    side: Side

    def sending(self, message: str) -> Push:
        """A push of that message, base64, whatever the address."""

        async def push(_address: str) -> float:
            await self.child.tell(message)
            return (await self.child.answer())["began"]

        return push


async def connect(fleet: Child, address: str, pids: Sequence[int], plan: Plan) -> Side:
    """Connect the fleet, and what that cost the server's processes."""
    side = Side()
    before = _cpu(pids)
    order = {"do": "connect", "address": address, "form": plan.form, "count": plan.proxies}
    answer = await fleet.ask(order | {"cluster": plan.cluster, "at_once": plan.at_once, "tls": plan.tls})
    await asyncio.sleep(_SETTLE)
    side.connect_seconds, side.connect_bytes = answer["seconds"], answer["bytes"]
    side.connect_cpu = _cpu(pids) - before
    side.memory = sum(usage(pid).memory for pid in pids)
    return side


async def measure_change(side: Side, fleet: Child, pids: Sequence[int], push: Push, address: str) -> None:
    """One change, from before it is made until the last proxy has it. Raises RuntimeError when one never gets
    it.
    """
    await fleet.ask({"do": "expect", "needle": address, "timeout": _TIMEOUT})
    await asyncio.sleep(_SETTLE)
    server, client = _cpu(pids), _cpu([fleet.pid])
    began = await push(address)
    answer = await fleet.answer()
    arrivals: list[float] = answer["arrivals"]
    await asyncio.sleep(_SETTLE)
    if answer["missing"]:
        late, ended = answer["missing"], answer["ended"]
        raise RuntimeError(f"{late} proxies lack {address} after {_TIMEOUT:.0f} s; {ended} streams ended")
    side.cpu.append(_cpu(pids) - server)
    side.client_cpu.append(_cpu([fleet.pid]) - client)
    side.last.append(arrivals[-1] - began)
    side.median.append(statistics.median(arrivals) - began)


def _cpu(pids: Sequence[int]) -> float:
    return sum(usage(pid).cpu for pid in pids)


@asynccontextmanager
async def _running_floor(module: str, plan: Plan, recorded: Path) -> AsyncGenerator[Floor]:
    """A server that sends what was recorded, and a fleet of its own that is connected to it."""
    async with (
        running_child("-m", "bench.proxies") as fleet,
        running_child("-m", module, str(recorded), *([plan.tls] if plan.tls else [])) as child,
    ):
        side = await connect(fleet, f"127.0.0.1:{await child.line()}", [child.pid], plan)
        tell(f"{module}: {side.connect_seconds:.2f} s, {side.connect_cpu:.2f} s of CPU")
        yield Floor(module, child, fleet, side)


async def compare(address: str, pids: Sequence[int], plan: Plan, push: Push, folder: Path) -> Json:
    """Measure the server at `address` and the floors by turns. `pids` are the server's processes."""
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(running_child("-m", "bench.proxies"))
        ours = await connect(fleet, address, pids, plan)
        tell(f"{plan.proxies} proxies connect: {ours.connect_seconds:.2f} s, {ours.connect_cpu:.2f} s of CPU")
        recorded = folder / "recorded"
        recorded.write_text("\n".join(await _recorded(fleet)))
        beside, modules = plan, _FLOORS
        if plan.tls:
            make_floor(folder / "floor")
            beside, modules = replace(plan, tls=str(folder / "floor")), _TLS_FLOORS
        floors = [await stack.enter_async_context(_running_floor(one, beside, recorded)) for one in modules]
        for index in range(plan.rounds):
            needle = f"172.31.{index // 100}.{100 + index % 100}"
            await measure_change(ours, fleet, pids, push, needle)
            message = (await _recorded(fleet))[-1]
            for floor in floors:
                await measure_change(
                    floor.side, floor.fleet, [floor.child.pid], floor.sending(message), needle
                )
            least = ", ".join(f"{floor.name} {floor.side.last[-1] * 1000:.0f}" for floor in floors)
            tell(f"change {index + 1}: {ours.last[-1] * 1000:.0f} ms to the last proxy; {least}")
        size = len(base64.b64decode((await _recorded(fleet))[-1]))
        storm = await measure_storm(fleet, address, plan, push, ours.last) if plan.storm else None
    return {
        "form": plan.form,
        "tls": bool(plan.tls),
        "proxies": plan.proxies,
        "at_once": plan.at_once,
        "changes": plan.rounds,
        "change_bytes": size,
        "server": ours.report(),
        **{floor.name: floor.side.report() for floor in floors},
        "ratio": {floor.name: _ratios(ours, floor.side) for floor in floors},
        **({"storm": storm} if storm else {}),
    }


def _ratios(ours: Side, floor: Side) -> Json:
    return {
        "last_proxy": _ratio(ours.last, floor.last),
        "median_proxy": _ratio(ours.median, floor.median),
        "change_cpu": _ratio(ours.cpu, floor.cpu),
        "connect_cpu": round(ours.connect_cpu / floor.connect_cpu, 2),
    }


async def _recorded(fleet: Child) -> list[Any]:
    return (await fleet.ask({"do": "recorded"}))["messages"]


def _ratio(ours: Sequence[float], floor: Sequence[float]) -> float:
    return round(statistics.median(ours) / statistics.median(floor), 2) if ours else math.nan


def tell(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)
