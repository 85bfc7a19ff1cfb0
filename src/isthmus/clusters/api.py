"""The little of an API server that watching a cluster, and writing beside it, needs; tests stand in here."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import msgspec

from isthmus.kube.access import Access
from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import Unreachable
from isthmus.kube.kinds import Kind
from isthmus.kube.watch import Event, WatchState, watch_kind

T = TypeVar("T")


class Api(Protocol):
    """One API server. `watch` never returns; all else raises ApiError or Unreachable."""

    async def serves(self, group: str, version: str, plural: str) -> bool:
        """Whether it has that resource."""
        ...

    async def ready(self) -> None:
        """Ask it whether it is ready (`/readyz`); no error is yes."""
        ...

    async def version(self) -> str:
        """What it calls itself (`/version`, gitVersion)."""
        ...

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> bytes:
        """Anything else: `path` is below the server's URL and percent-encoded, a body is sent as JSON."""
        ...

    async def get(self, kind: Kind[T], name: str, namespace: str) -> T:
        """One object."""
        ...

    async def list(self, kind: Kind[T], namespace: str | None, *, label_selector: str = "") -> Sequence[T]:
        """Those objects that can be read; of all namespaces where none is given."""
        ...

    async def create(self, kind: Kind[Any], body: Mapping[str, Any], namespace: str) -> dict[str, Any]:
        """Create an object, and answer with it as it is then."""
        ...

    async def delete(self, kind: Kind[Any], name: str, namespace: str) -> None:
        """Delete an object."""
        ...

    async def patch(
        self, kind: Kind[Any], name: str, patch: Mapping[str, Any], namespace: str
    ) -> dict[str, Any]:
        """Merge into an object (RFC 7386); with a resource version in it only while it is still that."""
        ...

    async def watch(
        self,
        kind: Kind[T],
        deliver: Callable[[Event[T]], None],
        *,
        report: Callable[[WatchState], None],
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> NoReturn:
        """`kube.watch.watch_kind`."""
        ...


Connect: TypeAlias = Callable[[Access], AbstractAsyncContextManager[Api]]
"""Makes the API of one access, for as long as the block lasts."""


class _Version(msgspec.Struct, rename="camel"):
    git_version: str = ""


class _ClientApi:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def serves(self, group: str, version: str, plural: str) -> bool:
        return await self._client.serves(group, version, plural)

    async def ready(self) -> None:
        await self._client.request("GET", "/readyz")

    async def version(self) -> str:
        body = await self._client.request("GET", "/version")
        try:
            return msgspec.json.decode(body, type=_Version).git_version[:100]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unreachable(f"its answer to /version is none: {error}") from None

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> bytes:
        return await self._client.request(method, path, params=params, body=body, content_type=content_type)

    async def get(self, kind: Kind[T], name: str, namespace: str) -> T:
        return await self._client.get(kind, name, namespace)

    async def list(self, kind: Kind[T], namespace: str | None, *, label_selector: str = "") -> Sequence[T]:
        return (await self._client.list(kind, namespace, label_selector=label_selector)).items

    async def delete(self, kind: Kind[Any], name: str, namespace: str) -> None:
        await self._client.delete(kind, name, namespace)

    async def create(self, kind: Kind[Any], body: Mapping[str, Any], namespace: str) -> dict[str, Any]:
        return await self._client.create(kind, body, namespace)

    async def patch(
        self, kind: Kind[Any], name: str, patch: Mapping[str, Any], namespace: str
    ) -> dict[str, Any]:
        return await self._client.patch(kind, name, patch, namespace)

    async def watch(
        self,
        kind: Kind[T],
        deliver: Callable[[Event[T]], None],
        *,
        report: Callable[[WatchState], None],
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> NoReturn:
        await watch_kind(
            self._client,
            kind,
            deliver,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            report=report,
        )


@asynccontextmanager
async def connected(access: Access) -> AsyncGenerator[Api]:
    """The real API server behind an access."""
    async with running_client(access) as client:
        yield _ClientApi(client)
