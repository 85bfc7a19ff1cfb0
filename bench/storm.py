"""Changes while many more proxies connect all at once: what those notice who were there before."""

import asyncio
import statistics
from collections.abc import Sequence

from bench.children import Child, Json, running_child
from bench.plan import Plan, Push

_TIMEOUT = 60.0
_PAUSE = 0.2


async def measure_storm(fleet: Child, address: str, plan: Plan, push: Push, quiet: Sequence[float]) -> Json:
    """Times in milliseconds: of one change after another until the newcomers have everything.

    `quiet` are the times to the last proxy of `fleet` without a storm, in seconds.
    """
    stormy: list[float] = []
    async with running_child("-m", "bench.proxies") as newcomers:
        order = {"do": "connect", "address": address, "form": plan.form, "count": plan.storm}
        order |= {"cluster": plan.cluster, "at_once": plan.storm, "tls": plan.tls}
        connecting = asyncio.ensure_future(newcomers.ask(order))
        while not connecting.done():
            stormy.append(await _change(fleet, push, f"172.30.{len(stormy) >> 8}.{len(stormy) & 255}"))
            await asyncio.sleep(_PAUSE)
        answer = await connecting
    median = statistics.median(quiet)
    return {
        "newcomers": plan.storm,
        "connect_seconds": round(answer["seconds"], 3),
        "changes": len(stormy),
        "quiet_ms": round(median * 1000, 1),
        "last_proxy_ms": {
            "median": round(statistics.median(stormy) * 1000, 1),
            "worst": round(max(stormy) * 1000, 1),
        },
        "ratio": {
            "median": round(statistics.median(stormy) / median, 2),
            "worst": round(max(stormy) / median, 2),
        },
    }


async def _change(fleet: Child, push: Push, address: str) -> float:
    await fleet.ask({"do": "expect", "needle": address, "timeout": _TIMEOUT})
    began = await push(address)
    answer = await fleet.answer()
    if answer["missing"]:
        raise RuntimeError(f"{answer['missing']} proxies lack {address} in the storm")
    return answer["arrivals"][-1] - began
