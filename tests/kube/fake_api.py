"""A small API server in this process: lists, watches and writes whole JSON objects over plain HTTP.

It keeps a history like a real one, so that a watch resumes at any version since `compact()`, and it can
misbehave: `intercept` sees every request first, `sever_watches` ends open watches in mid-air.
"""

import asyncio
import copy
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from isthmus.kube.access import Access
from isthmus.kube.kinds import Kind

Json = dict[str, Any]
Intercept = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass(frozen=True, slots=True)
class _Change:
    version: int
    collection: str
    type: str
    object: Json


@dataclass(slots=True, eq=False)
class _Watcher:
    collection: str
    queue: "asyncio.Queue[_Change | None]" = field(default_factory=asyncio.Queue[_Change | None])


def status(code: int, reason: str, message: str = "") -> web.Response:
    """A Kubernetes failure."""
    return web.json_response(_status(code, reason, message), status=code)


def _status(code: int, reason: str, message: str = "") -> Json:
    return {
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


class FakeApi:
    """One server; made by `running_fake_api` only."""

    def __init__(self, kinds: tuple[Kind[Any], ...]) -> None:
        self.version = 100
        self.requests: list[web.Request] = []
        self.intercept: Intercept | None = None
        self.access = Access("")
        self._kinds = {kind.path(): kind for kind in kinds}
        self._objects: dict[tuple[str, str, str], Json] = {}
        self._history: list[_Change] = []
        self._watchers: set[_Watcher] = set()
        self._watches_changed = asyncio.Event()
        self._compacted = 0
        self._uid = 0

    async def watched(self, count: int) -> None:
        """Wait until exactly so many watches are open."""
        async with asyncio.timeout(5):
            while len(self._watchers) != count:
                self._watches_changed.clear()
                await self._watches_changed.wait()

    def put(self, kind: Kind[Any], body: Json) -> Json:
        """Create or replace an object, as a controller in the cluster would."""
        new = copy.deepcopy(body)
        meta = new.setdefault("metadata", {})
        key = (kind.path(), meta.get("namespace", "") or "", meta["name"])
        old = self._objects.get(key)
        self._uid += 1
        meta.setdefault("uid", old["metadata"]["uid"] if old else f"uid-{self._uid}")
        self._store(key, "MODIFIED" if old else "ADDED", new)
        return new

    def remove(self, kind: Kind[Any], name: str, namespace: str = "") -> None:
        """Delete an object."""
        key = (kind.path(), namespace, name)
        self._store(key, "DELETED", copy.deepcopy(self._objects[key]))

    def bookmark(self) -> None:
        """Send every watch a bookmark."""
        for watcher in self._watchers:
            meta = {"resourceVersion": str(self.version), "creationTimestamp": None}
            watcher.queue.put_nowait(
                _Change(self.version, watcher.collection, "BOOKMARK", {"metadata": meta})
            )

    def compact(self) -> None:
        """Forget the history: no watch can resume before now."""
        self._compacted = self.version
        self._history.clear()

    def sever_watches(self) -> None:
        """Break every open watch's connection."""
        for watcher in self._watchers:
            watcher.queue.put_nowait(None)

    def _store(self, key: tuple[str, str, str], change: str, new: Json) -> None:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        if change == "DELETED":
            del self._objects[key]
        else:
            self._objects[key] = new
        event = _Change(self.version, key[0], change, new)
        self._history.append(event)
        for watcher in self._watchers:
            if watcher.collection == event.collection:
                watcher.queue.put_nowait(event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        self.requests.append(request)
        if self.intercept is not None:
            answer = await self.intercept(request)
            if answer is not None:
                return answer
        parts = request.path.strip("/").split("/")
        head = 2 if parts[0] == "api" else 3
        if len(parts) == head:
            return self._discover("/" + request.path.strip("/"))
        if len(parts) < head:
            return status(404, "NotFound", "the server could not find the requested resource")
        namespace = ""
        if parts[head] == "namespaces" and len(parts) > head + 2:
            namespace, parts = parts[head + 1], parts[:head] + parts[head + 2 :]
        kind = self._kinds.get("/" + "/".join(parts[: head + 1]))
        if kind is None:
            return status(404, "NotFound", "the server could not find the requested resource")
        if len(parts) > head + 1:
            return await self._one(request, kind, namespace, parts[head + 1])
        if request.method == "POST":
            return await self._create(request, kind, namespace)
        if request.query.get("watch") == "1":
            return await self._watch(request, kind, namespace)
        return self._list(request, kind, namespace)

    def _discover(self, group: str) -> web.Response:
        found = [kind for path, kind in self._kinds.items() if path.rsplit("/", 1)[0] == group]
        if not found:
            return status(404, "NotFound")
        resources = [
            {"name": kind.plural, "kind": kind.kind, "namespaced": kind.namespaced} for kind in found
        ]
        return web.json_response({"kind": "APIResourceList", "resources": resources})

    def _list(self, request: web.Request, kind: Kind[Any], namespace: str) -> web.Response:
        found = [
            item
            for (collection, _, _), item in sorted(self._objects.items(), key=lambda each: each[0])
            if collection == kind.path() and _selected(item, request, namespace)
        ]
        limit = int(request.query.get("limit", "0")) or len(found) or 1
        version, start = request.query.get("continue", f"{self.version}:0").split(":")
        if int(version) < self._compacted:
            return status(410, "Expired", "The provided continue parameter is too old")
        end = int(start) + limit
        meta = {"resourceVersion": version, "continue": f"{version}:{end}" if end < len(found) else ""}
        return web.json_response(
            {"kind": f"{kind.kind}List", "metadata": meta, "items": found[int(start) : end]}
        )

    async def _watch(self, request: web.Request, kind: Kind[Any], namespace: str) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        since = int(request.query["resourceVersion"])
        if since < self._compacted:
            gone = {"type": "ERROR", "object": _status(410, "Expired", "too old resource version")}
            await answer.write(json.dumps(gone).encode() + b"\n")
            return answer
        watcher = _Watcher(kind.path())
        for event in self._history:
            if event.version > since and event.collection == watcher.collection:
                watcher.queue.put_nowait(event)
        self._watchers.add(watcher)
        self._watches_changed.set()
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", "300"))):
                while (event := await watcher.queue.get()) is not None:
                    if event.type == "BOOKMARK" or _selected(event.object, request, namespace):
                        line = json.dumps({"type": event.type, "object": event.object})
                        await answer.write(line.encode() + b"\n")
            assert request.transport is not None
            request.transport.abort()
        except TimeoutError:
            pass
        finally:
            self._watchers.discard(watcher)
            self._watches_changed.set()
        return answer

    async def _create(self, request: web.Request, kind: Kind[Any], namespace: str) -> web.Response:
        body: Json = json.loads(await request.read())
        meta = body.setdefault("metadata", {})
        if namespace:
            meta["namespace"] = namespace
        if (kind.path(), namespace, meta["name"]) in self._objects:
            return status(409, "AlreadyExists", f'{kind.plural} "{meta["name"]}" already exists')
        return web.json_response(self.put(kind, body), status=201)

    async def _one(self, request: web.Request, kind: Kind[Any], namespace: str, name: str) -> web.Response:
        item = self._objects.get((kind.path(), namespace, name))
        if item is None:
            return status(404, "NotFound", f'{kind.plural} "{name}" not found')
        match request.method:
            case "GET":
                return web.json_response(item)
            case "DELETE":
                wanted = json.loads(await request.read() or b"{}").get("preconditions", {}).get("uid")
                if wanted not in (None, item["metadata"]["uid"]):
                    return status(409, "Conflict", "the UID in the precondition differs")
                self.remove(kind, name, namespace)
                return web.json_response({"kind": "Status", "status": "Success"})
            case "PUT":
                body: Json = json.loads(await request.read())
                version = body["metadata"].get("resourceVersion")
                if version not in (None, item["metadata"]["resourceVersion"]):
                    return status(409, "Conflict", "the object has been modified")
                return web.json_response(self.put(kind, body))
            case _:
                return web.json_response(self.put(kind, _merged(item, json.loads(await request.read()))))


def _selected(item: Json, request: web.Request, namespace: str) -> bool:
    """Equality selectors only."""
    meta = item["metadata"]
    wanted = [each.split("=") for each in request.query.get("labelSelector", "").split(",") if each]
    labels = all(meta.get("labels", {}).get(key) == value for key, value in wanted)
    name = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
    return labels and name in ("", meta["name"]) and namespace in ("", meta.get("namespace"))


def _merged(item: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result: Json = dict(item) if isinstance(item, dict) else {}  # pyright: ignore[reportUnknownArgumentType]
    for key, value in patch.items():  # pyright: ignore[reportUnknownVariableType]
        if value is None:
            result.pop(key, None)  # pyright: ignore[reportUnknownArgumentType]
        else:
            result[key] = _merged(result.get(key), value)  # pyright: ignore[reportUnknownArgumentType]
    return result


@asynccontextmanager
async def running_fake_api(*kinds: Kind[Any], tls: ssl.SSLContext | None = None) -> AsyncGenerator[FakeApi]:
    """A server of these kinds on a loopback port; `access` reaches it (with TLS: once it knows the CA)."""
    api = FakeApi(kinds)
    app = web.Application(client_max_size=16 << 20)
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        api.access = Access(f"{'https' if tls else 'http'}://{host}:{port}")
        yield api
    finally:
        await runner.cleanup()
