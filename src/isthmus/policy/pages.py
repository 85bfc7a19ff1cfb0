"""The policy server's HTTP side: readiness, metrics, and which policies are in force. Read-only."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from isthmus.lib.address import HostPort
from isthmus.lib.pages import Page, alive, metrics, readiness, serving_pages_at
from isthmus.policy.rulebook import Rulebook


@asynccontextmanager
async def serving_monitoring(
    address: HostPort, pending: Callable[[], Sequence[str]], registry: CollectorRegistry, rulebook: Rulebook
) -> AsyncGenerator[int]:
    """Serve the pages; `pending` names what is awaited. Yields the bound port."""

    async def policyz(_: web.Request) -> web.Response:
        body = msgspec.json.format(msgspec.json.encode(describe_policies(rulebook)), indent=2)
        return web.Response(body=body, content_type="application/json")

    pages: dict[str, Page] = {
        "/ready": readiness(pending),
        "/healthz": alive,
        "/metrics": metrics(registry),
        "/debug/policyz": policyz,
    }
    async with serving_pages_at([address], pages, name="monitoring") as (port,):
        yield port


def describe_policies(rulebook: Rulebook) -> dict[str, Any]:
    """`/debug/policyz`: rules in force in their order, and objects whose latest version is not."""
    return {
        "inForce": [
            {"policy": str(one.ref), "rules": [rule.label for rule in (*one.rules, *one.limits)]}
            for one in rulebook.policies()
        ],
        "rejected": [
            {"policy": str(ref), "field": refusal.field, "reason": refusal.reason}
            for ref, refusal in rulebook.rejected.items()
        ],
    }
