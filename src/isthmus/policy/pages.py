"""The policy server's HTTP side: readiness, metrics, and which policies are in force. Read-only."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError
from isthmus.policy.rulebook import Rulebook

_DRAIN_SECONDS = 1.0


@asynccontextmanager
async def serving_monitoring(
    address: HostPort, pending: Callable[[], Sequence[str]], metrics: CollectorRegistry, rulebook: Rulebook
) -> AsyncGenerator[int]:
    """Serve the pages; `pending` names what is awaited. Yields the bound port."""
    app = web.Application(client_max_size=64 * 1024)

    async def ready(_: web.Request) -> web.Response:
        if awaited := pending():
            return web.Response(status=503, text=f"waiting for {', '.join(awaited)}\n")
        return web.Response(text="ready\n")

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def policyz(_: web.Request) -> web.Response:
        body = msgspec.json.format(msgspec.json.encode(describe_policies(rulebook)), indent=2)
        return web.Response(body=body, content_type="application/json")

    pages = {"/ready": ready, "/healthz": alive, "/metrics": scrape, "/debug/policyz": policyz}
    for path, handler in pages.items():
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as error:
            raise UserError(
                f"The monitoring address {address} cannot be used: {error.strerror}; free it or name another."
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


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
