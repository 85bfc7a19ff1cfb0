"""The HTTP side of a control plane: readiness, metrics and the debug pages. Read-only; it decides nothing.

Readiness, metrics and version are for whoever asks, as probes and scrapers prove nothing; what is under
`/debug` names workloads, addresses and configuration, and is guarded (`guard`).
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
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
    below `/debug/`, by name: what is to be shown as JSON.
    `config_dump` takes `POD.NAMESPACE` or a node id, and answers None for a proxy that is not connected.
    `may_read` judges who wants a debug page from elsewhere.
    """

    pending: Callable[[], Sequence[str]]
    metrics: CollectorRegistry
    version: str
    debug: Mapping[str, Callable[[], Any]]
    config_dump: Callable[[str], Any | None]
    may_read: MayRead


@asynccontextmanager
async def serving_pages(addresses: Sequence[HostPort], pages: Pages) -> AsyncGenerator[Sequence[int]]:
    """Serve `pages` on every address; yields the bound ports, in order."""
    async with serving_pages_at(addresses, pages_by_path(pages), name="HTTP") as ports:
        yield ports


def pages_by_path(pages: Pages) -> dict[str, Page]:
    """What answers each path."""

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

    async def version(_: web.Request) -> web.Response:
        return web.Response(text=pages.version)

    names = sorted((*pages.debug, "config_dump"))
    debug: dict[str, Page] = {
        "/debug": page(lambda: [f"/debug/{name}" for name in names]),
        "/debug/list": page(lambda: names),
        "/debug/config_dump": config_dump,
        **{f"/debug/{name}": page(read) for name, read in pages.debug.items()},
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
