"""Read-only pages over HTTP: how they are served, and those that every server has."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError

Page: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
_DRAIN_SECONDS = 1.0
_MOST_BODY = 64 * 1024


@asynccontextmanager
async def serving_pages_at(
    addresses: Sequence[HostPort],
    pages: Mapping[str, Page],
    *,
    name: str,
    remedy: str = "free it or name another",
) -> AsyncGenerator[Sequence[int]]:
    """Answer GET of each path by its page, on every address; yields the bound ports, in order.

    Raises UserError for an address that cannot be bound: `name` says whose it is, `remedy` what to do.
    """
    app = web.Application(client_max_size=_MOST_BODY)
    for path, page in pages.items():
        app.router.add_get(path, page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    try:
        for address in addresses:
            try:
                await web.TCPSite(runner, address.host, address.port).start()
            except OSError as error:
                raise UserError(
                    f"The {name} address {address} cannot be used: {error.strerror}; {remedy}."
                ) from error
        yield [bound[1] for bound in runner.addresses]
    finally:
        await runner.cleanup()


def readiness(pending: Callable[[], Sequence[str]]) -> Page:
    """200 when nothing is pending, else 503 that names it."""

    async def ready(_: web.Request) -> web.Response:
        if awaited := pending():
            return web.Response(status=503, text=f"waiting for {', '.join(awaited)}\n")
        return web.Response(text="ready\n")

    return ready


async def alive(_: web.Request) -> web.Response:
    """200: the process answers."""
    return web.Response(text="alive\n")


def metrics(registry: CollectorRegistry) -> Page:
    """The registry in Prometheus' text format."""

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return scrape
