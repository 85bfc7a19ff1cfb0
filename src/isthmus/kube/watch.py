"""List and watch one kind for ever: what the rooms above use.

The loop is in `following`, what decides in `reflector` and `patience`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

from isthmus.kube.client import PAGE_LIMIT, Client
from isthmus.kube.decoding import Page
from isthmus.kube.following import Event, Phase, WatchState, follow
from isthmus.kube.kinds import Kind
from isthmus.kube.reflector import Removed, Synced, Upserted

__all__ = ["Event", "Phase", "Removed", "Synced", "Upserted", "WatchState", "watch_kind"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _ClientSource(Generic[T]):
    """A client's one collection, as `following` wants it."""

    client: Client
    kind: Kind[T]
    namespace: str | None
    labels: str
    fields: str

    async def page(self, continue_: str, limit: int = PAGE_LIMIT) -> Page[T]:
        return await self.client.page(
            self.kind,
            self.namespace,
            continue_=continue_,
            label_selector=self.labels,
            field_selector=self.fields,
            limit=limit,
        )

    def watching(
        self, resource_version: str, seconds: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.client.watching(
            self.kind,
            self.namespace,
            resource_version=resource_version,
            seconds=seconds,
            label_selector=self.labels,
            field_selector=self.fields,
        )

    async def probe(self) -> str:
        return (await self.page("", limit=1)).resource_version


async def watch_kind(
    client: Client,
    kind: Kind[T],
    deliver: Callable[[Event[T]], None],
    *,
    namespace: str | None = None,
    label_selector: str = "",
    field_selector: str = "",
    report: Callable[[WatchState], None] | None = None,
) -> NoReturn:
    """Deliver `Upserted` for every object, `Synced` once, then each real difference; until cancelled.

    `deliver` and `report` are called on the event loop and must not block; what they raise ends the watch.
    Every failure of the server is reported and retried. An object that cannot be read is reported in
    `WatchState.rejected` while its last good version stays in force.
    """
    source = _ClientSource(client, kind, namespace, label_selector, field_selector)
    await follow(source, kind, deliver, report=report)
