"""The kubelet's HTTPS interface: logs of containers, commands in them, and forwarded ports.

Only clients with a certificate of the cluster's CA in group system:masters, such as the API server's, are
answered.
"""

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from aiohttp import web
from aiohttp.typedefs import Handler

from isthmus.lab.node.logs import LogFile, LogQuery, read_log
from isthmus.lab.node.streaming.endpoints import FindPod, streaming_routes
from isthmus.lab.pki import PkiFiles

_MASTERS = ("organizationName", "system:masters")


@asynccontextmanager
async def running_kubelet_api(address: str, port: int, pki: PkiFiles, find: FindPod) -> AsyncGenerator[int]:
    """Serve on one address; yields the port that was bound."""
    app = web.Application(middlewares=[_masters_only])

    async def logs(request: web.Request) -> web.StreamResponse:
        return await _serve_logs(request, find)

    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", logs)
    app.router.add_routes(streaming_routes(find))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port, ssl_context=_tls(pki))
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def read_query(query: Mapping[str, str], now: datetime) -> LogQuery:
    """The query of `/containerLogs` (core/v1 PodLogOptions); ValueError says what makes no sense."""
    since: datetime | None = None
    try:
        if "sinceSeconds" in query:
            since = now - timedelta(seconds=int(query["sinceSeconds"]))
        elif "sinceTime" in query:
            since = datetime.fromisoformat(query["sinceTime"])
        tail = int(query["tailLines"]) if "tailLines" in query else None
        limit = int(query["limitBytes"]) if "limitBytes" in query else None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"bad log options: {error}") from None
    if (tail is not None and tail < 0) or (limit is not None and limit < 1):
        raise ValueError("bad log options: tailLines must be at least 0, limitBytes at least 1")
    return LogQuery(_flag(query, "follow"), _flag(query, "timestamps"), tail, since, limit)


async def _serve_logs(request: web.Request, find: FindPod) -> web.StreamResponse:
    try:
        query = read_query(request.query, datetime.now(UTC))
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    log = _find_log(request, find)
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    async for text in read_log(log, query):
        await response.write(text)
    await response.write_eof()
    return response


def _find_log(request: web.Request, find: FindPod) -> LogFile:
    namespace, pod, container = (request.match_info[key] for key in ("namespace", "pod", "container"))
    found = find(namespace, pod)
    run = None if found is None else found.container(container)
    previous = _flag(request.query, "previous")
    log = None if run is None else run.previous_log if previous else run.log
    if log is None:
        which = "previous terminated container" if previous else "container"
        text = f'{which} "{container}" in pod "{pod}" not found'
        if run is not None and not previous:
            text = f'container "{container}" in pod "{pod}" is waiting to start'
        raise web.HTTPBadRequest(text=text)
    return log


@web.middleware
async def _masters_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    peer = cast("dict[str, Any]", request.get_extra_info("peercert") or {})
    if not any(_MASTERS in part for part in peer.get("subject", ())):
        raise web.HTTPForbidden(text="only the cluster's masters may ask a kubelet")
    return await handler(request)


def _tls(pki: PkiFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.cert("kubelet"), pki.key("kubelet"))
    context.load_verify_locations(pki.ca_cert)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true", "t")
