"""Leader election through a Lease: work that at most one replica does at a time. The rules are in `lease`.

What is led must bear that two do it for a moment all the same: a machine that was suspended wakes up and
believes that it leads. Who leads therefore writes with a precondition.
"""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from random import uniform
from typing import Any, NoReturn, Protocol, TypeVar

import msgspec
import structlog

from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import LEASE, Kind
from isthmus.kube.lease import Held, Make, Seen, Terms, Write, decide, is_held_by, release
from isthmus.kube.objects import Lease
from isthmus.lib.lifecycle import task_scope

T = TypeVar("T")
_USUAL = Terms()
_JITTER = 1.2
"""Who does not lead waits up to so much longer, times the pause, so that not all try at once (client-go)."""
_WITHOUT_RIGHTS = 30.0
"""Seconds between two attempts where the server refuses."""
_RELEASE = 2.0

_log = structlog.stdlib.get_logger(__name__)


class LeaseApi(Protocol):
    """What is needed of an API server; all raise ApiError and Unreachable."""

    async def get(self, kind: Kind[T], name: str, namespace: str) -> T:
        """One object."""
        ...

    async def create(self, kind: Kind[Any], body: Mapping[str, Any], namespace: str) -> Any:
        """Create an object."""
        ...

    async def patch(self, kind: Kind[Any], name: str, patch: Mapping[str, Any], namespace: str) -> Any:
        """Merge into an object (RFC 7386); with a resource version in it only while it is still that."""
        ...


class Election:
    """One replica's part in it; made by `running_election` only."""

    def __init__(
        self,
        api: LeaseApi,
        namespace: str,
        name: str,
        identity: str,
        terms: Terms,
        wall: Callable[[], float],
    ) -> None:
        self.identity = identity
        self.leading = False
        """Whether this replica leads now."""
        self.refusal = ""
        """Why it can neither lead nor see who does, in words; "" where it can."""
        self._api = api
        self._namespace = namespace
        self._name = name
        self._terms = terms
        self._wall = wall
        self._seen = Seen(None, float("-inf"))
        self._is_forbidden = False

    @property
    def leader(self) -> str:
        """Who led when it was last looked at, "" for nobody."""
        return "" if self._seen.lease is None else self._seen.lease.spec.holder_identity

    async def serve(self, lead: Callable[[], Coroutine[Any, Any, NoReturn]]) -> NoReturn:
        """Do the work whenever this replica leads, for ever. It is cancelled, and awaited, when that ends."""
        while True:
            renewed = await self._acquire()
            self.leading = True
            _log.info("leading", lease=self._name, identity=self.identity)
            try:
                async with task_scope() as scope:
                    scope.serve(lead(), name=f"led by {self._name}")
                    await self._hold(renewed)
            finally:
                self.leading = False
            _log.warning("leading no more", lease=self._name, leader=self.leader, reason=self.refusal)

    async def release(self) -> None:
        """Let another lead at once, if this replica is still the one that the Lease names; best effort."""
        lease = self._seen.lease
        if lease is None or not is_held_by(lease, self.identity):
            return
        try:
            async with asyncio.timeout(_RELEASE):
                await self._api.patch(LEASE, self._name, release(lease, self._wall()), self._namespace)
        except (ApiError, Unreachable, TimeoutError) as error:
            _log.info("lease not released; it runs out by itself", lease=self._name, reason=str(error))

    async def _acquire(self) -> float:
        """Try until it is ours; when the attempt that succeeded began, in the loop's time."""
        clock = asyncio.get_running_loop().time
        while True:
            begun = clock()
            if await self._attempt():
                return begun
            pause = self._terms.retry * uniform(1, 1 + _JITTER)
            await asyncio.sleep(_WITHOUT_RIGHTS if self._is_forbidden else pause)

    async def _hold(self, renewed: float) -> None:
        """Renew it; return once it is another's, or was not renewed in time."""
        clock, terms = asyncio.get_running_loop().time, self._terms
        while True:
            try:
                async with asyncio.timeout_at(renewed + terms.deadline):
                    await asyncio.sleep(terms.retry)
                    begun = clock()
                    while not await self._attempt():
                        if self._seen.lease is not None and not is_held_by(self._seen.lease, self.identity):
                            return
                        await asyncio.sleep(terms.retry)
                        begun = clock()
            except TimeoutError:
                self.refusal = self.refusal or f"the Lease was not renewed within {terms.deadline:g} s"
                return
            renewed = begun

    async def _attempt(self) -> bool:
        """Look if it is not ours, and take or renew it if the rules allow; whether it is ours now."""
        try:
            async with asyncio.timeout(self._terms.deadline / 2):
                if not is_held_by(self._seen.lease, self.identity):
                    await self._look()
                try:
                    won = await self._move()
                except ApiError as error:
                    if error.status not in (404, 409):
                        raise
                    await self._look()  # somebody was here since we looked
                    won = False
        except (ApiError, Unreachable, TimeoutError) as error:
            reason = str(error) or "the API server did not answer in time"
            if not self.refusal:
                _log.warning("lease cannot be had", lease=self._name, reason=reason)
            self.refusal = f"Lease {self._namespace}/{self._name}: {reason}"
            self._is_forbidden = isinstance(error, ApiError) and error.status in (401, 403)
            return False
        self.refusal, self._is_forbidden = "", False
        return won

    async def _look(self) -> None:
        try:
            found = await self._api.get(LEASE, self._name, self._namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            found = None
        self._seen = self._seen.again(found, asyncio.get_running_loop().time())

    async def _move(self) -> bool:
        now = asyncio.get_running_loop().time()
        match decide(self._seen, self.identity, self._name, terms=self._terms, now=now, wall=self._wall()):
            case Held():
                return False
            case Make(body):
                answer = await self._api.create(LEASE, body, self._namespace)
            case Write(patch):
                answer = await self._api.patch(LEASE, self._name, patch, self._namespace)
        try:
            written = msgspec.convert(answer, Lease)
        except msgspec.ValidationError as error:
            raise Unreachable(f"its answer is no Lease: {error}") from None
        self._seen = Seen(written, asyncio.get_running_loop().time())
        return True


@asynccontextmanager
async def running_election(
    api: LeaseApi,
    lead: Callable[[], Coroutine[Any, Any, NoReturn]],
    *,
    namespace: str,
    name: str,
    identity: str | None = None,
    terms: Terms = _USUAL,
    wall: Callable[[], float] = time.time,
) -> AsyncGenerator[Election]:
    """Take part until the block ends: `lead()` runs while this replica leads; at the end the Lease is free.

    `identity` tells replicas apart, and one's own earlier life too; by default the host's name and a random
    part. An error that `lead` raises ends the block.
    """
    identity = identity or f"{os.uname().nodename}_{uuid.uuid4()}"
    election = Election(api, namespace, name, identity, terms, wall)
    try:
        async with task_scope() as scope:
            scope.serve(election.serve(lead), name=f"election {name}")
            yield election
    finally:
        await election.release()
