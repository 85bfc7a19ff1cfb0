"""The HTTP side of a control plane: readiness, metrics and the debug pages. Read-only; it decides nothing.

Readiness, metrics and version are for whoever asks, as probes and scrapers prove nothing; what is under
`/debug` names workloads, addresses and configuration, and is guarded (`guard`).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from isthmus.dashboard.guard import MayRead, guarded
from isthmus.lib.address import HostPort
from isthmus.lib.pages import Page, alive, metrics, readiness, serving_pages_at


@dataclass(frozen=True, slots=True)
class Pages:
    """What the pages read. Every callable answers at once, from memory.

    `pending` names what the process still waits for, and is empty when it is ready. `debug` are the pages
    below `/debug/`, by name: what is to be shown as JSON. `of_proxy` are those of one proxy: they take
    `POD.NAMESPACE` or a node id (`?proxyID=`), and answer None for a proxy that is not connected. A name may
    be in both.
    `may_read` judges who wants a debug page from elsewhere.
    """

    pending: Callable[[], Sequence[str]]
    metrics: CollectorRegistry
    version: str
    debug: Mapping[str, Callable[[], Any]]
    of_proxy: Mapping[str, Callable[[str], Any | None]]
    may_read: MayRead

    @property
    def names(self) -> list[str]:
        """Of all debug pages."""
        return sorted({*self.debug, *self.of_proxy})


@asynccontextmanager
async def serving_pages(addresses: Sequence[HostPort], pages: Pages) -> AsyncGenerator[Sequence[int]]:
    """Serve `pages` on every address; yields the bound ports, in order."""
    async with serving_pages_at(addresses, pages_by_path(pages), name="HTTP") as ports:
        yield ports


def pages_by_path(pages: Pages) -> dict[str, Page]:
    """What answers each path."""

    def of_proxy(
        name: str, read: Callable[[str], Any | None]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            proxy = request.query.get("proxyID", "")
            if not proxy and name in pages.debug:
                return _json(pages.debug[name](), request)
            if not proxy:
                return web.Response(status=400, text=f"Name a proxy: /debug/{name}?proxyID=POD.NAMESPACE\n")
            found = read(proxy)
            if found is None:
                return web.Response(
                    status=404,
                    text=f"No proxy {proxy} is connected here; /debug/syncz lists those that are.\n",
                )
            return _json(found, request)

        return handler

    def page(read: Callable[[], Any]) -> Callable[[web.Request], Any]:
        async def handler(request: web.Request) -> web.Response:
            return _json(read(), request)

        return handler

    async def version(_: web.Request) -> web.Response:
        return web.Response(text=pages.version)

    names = pages.names
    debug: dict[str, Page] = {
        "/debug": page(lambda: [f"/debug/{name}" for name in names]),
        "/debug/list": page(lambda: names),
        **{f"/debug/{name}": page(read) for name, read in pages.debug.items()},
        **{f"/debug/{name}": of_proxy(name, read) for name, read in pages.of_proxy.items()},
    }
    return {
        "/ready": readiness(pages.pending),
        "/healthz": alive,
        "/metrics": metrics(pages.metrics),
        "/version": version,
        **{path: guarded(page, pages.may_read) for path, page in debug.items()},
    }


def _json(value: Any, request: web.Request) -> web.Response:
    """JSON, indented when the query says `pretty` or a browser asks."""
    body = msgspec.json.encode(value)
    if "pretty" in request.query or "text/html" in request.headers.get("Accept", ""):
        body = msgspec.json.format(body, indent=2)
    return web.Response(body=body, content_type="application/json")
