"""The verbs of one API server: get, list, write, watch, discover. Errors: ApiError and Unreachable, no more.

It retries nothing and caches nothing; `watch` builds what never gives up on top of it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from isthmus.kube.access import Access
from isthmus.kube.decoding import Page, Rejected, decode_object, decode_page
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import Kind
from isthmus.kube.transport import Transport, running_transport

T = TypeVar("T")
PAGE_LIMIT = 500
_MOST_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """All objects of a list, and those of them that cannot be read."""

    items: tuple[T, ...]
    resource_version: str
    rejected: tuple[Rejected, ...] = ()


class _Resource(msgspec.Struct):
    name: str


class _ResourceList(msgspec.Struct):
    resources: list[_Resource] | None


class Client:
    """One API server; made by `running_client` only.

    Where a namespace is left out, `list` reads all namespaces and the other verbs use the access's own.
    """

    def __init__(self, access: Access, transport: Transport) -> None:
        self._transport = transport
        self.server = access.server
        self.namespace = access.namespace

    async def get(self, kind: Kind[T], name: str, namespace: str | None = None) -> T:
        """One object by name."""
        body = await self._transport.send("GET", kind.path(namespace or self.namespace, name))
        return _decoded(kind, body)

    async def list(
        self,
        kind: Kind[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Listing[T]:
        """All objects at one resource version; read page by page, begun anew where that takes too long."""
        for _ in range(_MOST_RESTARTS):
            items: list[T] = []
            rejected: list[Rejected] = []
            continue_ = ""
            try:
                while True:
                    page = await self.page(
                        kind,
                        namespace,
                        continue_=continue_,
                        label_selector=label_selector,
                        field_selector=field_selector,
                    )
                    for batch in page.batches():
                        items += batch.items
                        rejected += batch.rejected
                        await asyncio.sleep(0)
                    continue_ = page.continue_
                    if not continue_:
                        return Listing(tuple(items), page.resource_version, tuple(rejected))
            except ApiError as error:
                if error.status != 410 or not continue_:
                    raise
        raise Unreachable(f"its list of {kind.plural} expired {_MOST_RESTARTS} times before it was read")

    async def page(
        self,
        kind: Kind[T],
        namespace: str | None = None,
        *,
        continue_: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE_LIMIT,
    ) -> Page[T]:
        """One page of a list. ApiError 410 to a `continue_` means that the list expired: begin it again."""
        params = _selectors(label_selector, field_selector) | {"limit": str(limit)}
        if continue_:
            params["continue"] = continue_
        page = decode_page(kind, await self._transport.send("GET", kind.path(namespace), params=params))
        if page.continue_ and page.continue_ == continue_:
            raise Unreachable(f"its list of {kind.plural} does not advance")
        return page

    def watching(
        self,
        kind: Kind[Any],
        namespace: str | None = None,
        *,
        resource_version: str,
        seconds: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of a watch from that version on, which the server is asked to end after `seconds`."""
        params = _selectors(label_selector, field_selector) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        return self._transport.streaming(kind.path(namespace), params)

    async def create(
        self, kind: Kind[Any], body: Mapping[str, Any], namespace: str | None = None
    ) -> dict[str, Any]:
        """Create an object; its own `metadata.namespace` counts where none is given."""
        where = namespace or body.get("metadata", {}).get("namespace") or self.namespace
        return await self._write("POST", kind.path(where), body)

    async def replace(
        self, kind: Kind[Any], name: str, body: Mapping[str, Any], namespace: str | None = None
    ) -> dict[str, Any]:
        """Replace an object; with a resource version in the body only while it is still that (else 409)."""
        return await self._write("PUT", kind.path(namespace or self.namespace, name), body)

    async def patch(
        self,
        kind: Kind[Any],
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        subresource: str = "",
        content_type: str = "application/merge-patch+json",
    ) -> dict[str, Any]:
        """Patch an object or its subresource (`status`, `scale`)."""
        path = kind.path(namespace or self.namespace, name, subresource)
        return await self._write("PATCH", path, patch, content_type)

    async def delete(
        self,
        kind: Kind[Any],
        name: str,
        namespace: str | None = None,
        *,
        grace_seconds: int | None = None,
        uid: str | None = None,
    ) -> None:
        """Delete an object; with a uid only that very one (else ApiError 409)."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        await self.request("DELETE", kind.path(namespace or self.namespace, name), body=options)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Anything else. `path` is below the server's URL and percent-encoded; a body is sent as JSON."""
        encoded = None if body is None else msgspec.json.encode(body)
        return await self._transport.send(
            method, path, params=params, body=encoded, content_type=content_type, headers=headers
        )

    async def serves(self, group: str, version: str, plural: str) -> bool:
        """Whether the server has that resource (Kubernetes: API discovery)."""
        try:
            body = await self.request("GET", f"/apis/{group}/{version}" if group else f"/api/{version}")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        try:
            known = msgspec.json.decode(body, type=_ResourceList)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unreachable(f"its answer to discovery is no APIResourceList: {error}") from None
        return any(resource.name == plural for resource in known.resources or ())

    async def _write(
        self, method: str, path: str, body: Any, content_type: str = "application/json"
    ) -> dict[str, Any]:
        answer = await self.request(method, path, body=body, content_type=content_type)
        try:
            return msgspec.json.decode(answer, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unreachable(f"its answer to {method} is no object: {error}") from None


def _selectors(labels: str, fields: str) -> dict[str, str]:
    named = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in named.items() if value}


def _decoded(kind: Kind[T], body: bytes) -> T:
    try:
        return decode_object(kind, body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(f"its {kind.kind} cannot be read: {error}") from None


@asynccontextmanager
async def running_client(access: Access, *, timeout: float = 10.0) -> AsyncGenerator[Client]:
    """A client of one API server until the block ends. It connects as it is used.

    `timeout` (seconds) bounds connecting, and each wait for the next bytes of an answer.
    """
    async with running_transport(access, timeout=timeout) as transport:
        yield Client(access, transport)
