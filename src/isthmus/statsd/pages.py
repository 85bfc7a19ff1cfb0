"""The bridge's HTTP side: `/metrics`, and whether it is alive. Read-only."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from isthmus.lib.address import HostPort
from isthmus.lib.pages import Page, serving_pages_at
from isthmus.statsd.families import Families

_INDEX = '<html><body><h1>statsd-bridge</h1><p><a href="/metrics">Metrics</a></p></body></html>'


@asynccontextmanager
async def serving_metrics(
    address: HostPort, own: CollectorRegistry, families: Families
) -> AsyncGenerator[int]:
    """Serve the bridge's `own` metrics and those of its clients; yields the bound port."""

    async def metrics(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
        await response.prepare(request)
        await response.write(generate_latest(own))
        for text in families.text():
            await response.write(text.encode())
            # A write waits only for a full buffer; datagrams must be read in any case.
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="Statsd Exporter is Healthy.\n")

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="Statsd Exporter is Ready.\n")

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=_INDEX, content_type="text/html")

    pages: dict[str, Page] = {"/metrics": metrics, "/-/healthy": healthy, "/-/ready": ready, "/": index}
    remedy = "free it or name another (--http-address)"
    async with serving_pages_at([address], pages, name="HTTP", remedy=remedy) as (port,):
        yield port
