"""The HTTP side of a control plane: readiness, metrics and the debug pages. Read-only; it decides nothing."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError

DRAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Pages:
    """What the pages read. Every callable answers at once, from memory.

    `pending` names what the process still waits for, and is empty when it is ready.
    `config_dump` takes `POD.NAMESPACE` or a node id, and answers None for a proxy that is not connected.
    The others answer what is to be shown as JSON.
    """

    pending: Callable[[], Sequence[str]]
    metrics: CollectorRegistry
    clusterz: Callable[[], Any]
    syncz: Callable[[], Any]
    endpointz: Callable[[], Any]
    registryz: Callable[[], Any]
    config_dump: Callable[[str], Any | None]


@asynccontextmanager
async def serving_pages(addresses: Sequence[HostPort], pages: Pages) -> AsyncGenerator[Sequence[int]]:
    """Serve `pages` on every address; yields the bound ports, in order."""
    runner = web.AppRunner(_application(pages), access_log=None, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    try:
        for address in addresses:
            try:
                await web.TCPSite(runner, address.host, address.port).start()
            except OSError as error:
                raise UserError(
                    f"The HTTP address {address} cannot be used: {error.strerror}; free it or name another."
                ) from error
        yield [bound[1] for bound in runner.addresses]
    finally:
        await runner.cleanup()


def _application(pages: Pages) -> web.Application:
    app = web.Application(client_max_size=64 * 1024)

    async def ready(_: web.Request) -> web.Response:
        pending = pages.pending()
        if pending:
            return web.Response(status=503, text="waiting for " + ", ".join(pending) + "\n")
        return web.Response(text="ready\n")

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(pages.metrics), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def config_dump(request: web.Request) -> web.Response:
        proxy = request.query.get("proxyID", "")
        if not proxy:
            return web.Response(status=400, text="Name a proxy: /debug/config_dump?proxyID=POD.NAMESPACE\n")
        found = pages.config_dump(proxy)
        if found is None:
            return web.Response(
                status=404, text=f"No proxy {proxy} is connected here; /debug/syncz lists those that are.\n"
            )
        return _json(found, request)

    def page(read: Callable[[], Any]) -> Callable[[web.Request], Any]:
        async def handler(request: web.Request) -> web.Response:
            return _json(read(), request)

        return handler

    debug = {
        "/debug/clusterz": page(pages.clusterz),
        "/debug/syncz": page(pages.syncz),
        "/debug/endpointz": page(pages.endpointz),
        "/debug/registryz": page(pages.registryz),
        "/debug/config_dump": config_dump,
    }

    async def index(request: web.Request) -> web.Response:
        return _json(sorted(debug), request)

    app.router.add_get("/ready", ready)
    app.router.add_get("/healthz", alive)
    app.router.add_get("/metrics", metrics)
    for path, handler in {**debug, "/debug": index, "/debug/list": index}.items():
        app.router.add_get(path, handler)
    return app


def _json(value: Any, request: web.Request) -> web.Response:
    """JSON, indented when the query says `pretty` or a browser asks."""
    body = msgspec.json.encode(value)
    if "pretty" in request.query or "text/html" in request.headers.get("Accept", ""):
        body = msgspec.json.format(body, indent=2)
    return web.Response(body=body, content_type="application/json")
