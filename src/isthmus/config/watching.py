"""Configuration out of an API server: one watch a kind, which needs no CustomResourceDefinition to start.

While the definition is missing there are no objects, and they are picked up when it comes. While the API
server cannot be read for any other reason it is not `settled`: half of a mesh's configuration is none.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn, Protocol

import structlog

from isthmus.config.errors import ConfigRefused
from isthmus.config.store import ConfigKind
from isthmus.kube.client import Client
from isthmus.kube.decoding import Ref, metadata_of
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import Kind
from isthmus.kube.watch import Event, Phase, Removed, Synced, Upserted, WatchState, watch_kind
from isthmus.lib.lifecycle import task_scope

_log = structlog.get_logger(__name__)


class Taker(Protocol):
    """Who keeps the objects: a `ConfigStore`, or what compiles them first."""

    def apply(self, ref: Ref, found: Mapping[str, Any]) -> ConfigRefused | None:
        """Take a new version of an object; why it is refused, if it is."""
        ...

    def remove(self, ref: Ref) -> None:
        """The object is gone."""
        ...


class KindTaker(Taker, Protocol):
    """One that says of which kind its objects are."""

    @property
    def kind(self) -> ConfigKind[Any]:
        """Which."""
        ...


class ConfigWatch:
    """Keeps a taker as the API server has one kind."""

    def __init__(self, client: Client, kind: Kind[dict[str, Any]], taker: Taker) -> None:
        self.settled = asyncio.Event()
        """Set once all objects were read, or the API server said that it knows no such kind."""
        self.trouble = ""
        """Why the objects cannot be read, while they cannot."""
        self.kind = kind
        self._client = client
        self._taker = taker
        self._missing = False
        self._told: dict[Ref, tuple[object, str]] = {}

    async def run(self) -> NoReturn:
        """Until cancelled."""
        await watch_kind(self._client, self.kind, self._deliver, report=self._report)

    def _deliver(self, event: Event[dict[str, Any]]) -> None:
        match event:
            case Upserted(found):
                self._apply(_ref(found), found)
            case Removed(found):
                self._taker.remove(_ref(found))
                self._told.pop(_ref(found), None)
                _log.info("configuration removed", kind=self.kind.kind, object=str(_ref(found)))
            case Synced():
                self.settled.set()
                _log.info("configuration is read", kind=self.kind.kind)

    def _apply(self, ref: Ref, found: Mapping[str, Any]) -> None:
        refusal = self._taker.apply(ref, found)
        verdict = (found["metadata"].get("generation"), "" if refusal is None else str(refusal))
        if self._told.get(ref) == verdict:
            return  # Only its status changed, or its metadata.
        self._told[ref] = verdict
        if refusal is None:
            _log.info("configuration in force", kind=self.kind.kind, object=str(ref))
        else:
            _log.warning(
                "configuration rejected",
                kind=self.kind.kind,
                object=str(ref),
                field=refusal.field,
                reason=refusal.reason,
            )

    def _report(self, state: WatchState) -> None:
        if state.phase is Phase.LISTING:
            return
        error = state.error
        missing = isinstance(error, ApiError) and error.status == 404
        self.trouble = "" if error is None or missing else str(error)
        if missing:
            self.settled.set()
            if not self._missing:
                crd = f"{self.kind.plural}.{self.kind.group}"
                _log.warning("no CustomResourceDefinition: there are no such objects", crd=crd)
        self._missing = missing


def _ref(found: dict[str, Any]) -> Ref:
    metadata = metadata_of(found)
    return Ref(metadata.namespace, metadata.name)


@asynccontextmanager
async def watching_config(client: Client, *takers: KindTaker) -> AsyncGenerator[tuple[ConfigWatch, ...]]:
    """Keep each as the API server has its kind, until the block ends."""
    async with task_scope() as tasks:
        watches = tuple(ConfigWatch(client, taker.kind.source, taker) for taker in takers)
        for watch in watches:
            tasks.serve(watch.run(), name=f"configuration {watch.kind.kind}")
        yield watches
