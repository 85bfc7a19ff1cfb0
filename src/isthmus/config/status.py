"""What became of configuration objects, written into their `status`: people and `kubectl wait` read it."""

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn

import structlog

from isthmus.kube.client import Client
from isthmus.kube.decoding import Ref
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import Kind

_log = structlog.get_logger(__name__)


class StatusWriter:
    """Writes one status at a time, of each object only the latest. What cannot be written is logged, and
    left.
    """

    def __init__(self, client: Client, kind: Kind[Any]) -> None:
        self._client = client
        self._kind = kind
        self._unwritten: dict[Ref, Mapping[str, Any]] = {}
        self._news = asyncio.Event()

    def want(self, ref: Ref, status: Mapping[str, Any]) -> None:
        """This is to be merged into the object's status."""
        self._unwritten[ref] = status
        self._news.set()

    def forget(self, ref: Ref) -> None:
        """Nothing is to be written any more."""
        self._unwritten.pop(ref, None)

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._unwritten:
                ref, status = self._unwritten.popitem()
                try:
                    body = {"status": status}
                    await self._client.patch(self._kind, ref.name, body, ref.namespace, subresource="status")
                except (ApiError, Unreachable) as error:
                    _log.warning(
                        "status cannot be written", kind=self._kind.kind, object=str(ref), error=str(error)
                    )
