"""The little of an API server that watching a cluster needs; tests stand in for it here."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NoReturn, Protocol, TypeAlias, TypeVar

from isthmus.kube.access import Access
from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import Kind
from isthmus.kube.watch import Event, WatchState, watch_kind

T = TypeVar("T")


class Api(Protocol):
    """One API server. `watch` never returns; `serves` raises ApiError or Unreachable."""

    async def serves(self, group: str, version: str, plural: str) -> bool:
        """Whether it has that resource."""
        ...

    async def watch(
        self,
        kind: Kind[T],
        deliver: Callable[[Event[T]], None],
        *,
        report: Callable[[WatchState], None],
        namespace: str | None = None,
        label_selector: str = "",
    ) -> NoReturn:
        """`kube.watch.watch_kind`."""
        ...


Connect: TypeAlias = Callable[[Access], AbstractAsyncContextManager[Api]]
"""Makes the API of one access, for as long as the block lasts."""


class _ClientApi:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def serves(self, group: str, version: str, plural: str) -> bool:
        return await self._client.serves(group, version, plural)

    async def watch(
        self,
        kind: Kind[T],
        deliver: Callable[[Event[T]], None],
        *,
        report: Callable[[WatchState], None],
        namespace: str | None = None,
        label_selector: str = "",
    ) -> NoReturn:
        await watch_kind(
            self._client, kind, deliver, namespace=namespace, label_selector=label_selector, report=report
        )


@asynccontextmanager
async def connected(access: Access) -> AsyncGenerator[Api]:
    """The real API server behind an access."""
    async with running_client(access) as client:
        yield _ClientApi(client)
