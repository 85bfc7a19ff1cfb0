"""Renews the tokens of clusters that `isthmus cluster add` joined, well before they end; see `renewing`.

One replica does it at a time, by a Lease. A new token is tried before the Secret changes, and the Secret
changes in one step or not at all; from there on it is a rotation like any other. While it cannot be done the
old token works on.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import uniform
from typing import NoReturn

import structlog

from isthmus.clusters.api import Api, Connect
from isthmus.clusters.expiry import token_span
from isthmus.clusters.members import Member
from isthmus.clusters.renewing import Renewable, renewable, renewal_patch, renewed_access
from isthmus.clusters.roster import read_claims
from isthmus.kube.election import Election, running_election
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import NAMESPACE, SECRET
from isthmus.kube.token_request import request_token
from isthmus.lib.backoff import Backoff
from isthmus.lib.lifecycle import task_scope
from isthmus.model.service import ClusterId

LEASE = "istio-pilot-renewal"
_LOOK = 60.0
"""Seconds after which the wall clock is asked again."""
_WITHOUT_RIGHTS = (240.0, 360.0)
"""Seconds between attempts that only a person can help."""
_LEAST_REST, _REST_SHARE = 5.0, 0.25
"""A failed attempt rests for no more than this share of what is left of the token, or these seconds."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class _Course:
    """How the renewal of one token goes; `rests_until` is in the loop's time."""

    of: Renewable
    busy: bool = False
    rests_until: float = 0.0
    trouble: str = ""
    backoff: Backoff = field(default_factory=lambda: Backoff(initial=5.0, cap=300.0))


class Renewal:
    """Renews for all `members`, through `clients`. `wall` tells Unix seconds."""

    def __init__(
        self,
        namespace: str,
        members: Mapping[ClusterId, Member],
        clients: Mapping[ClusterId, Api],
        connect: Connect,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._namespace = namespace
        self._members = members
        self._clients = clients
        self._connect = connect
        self._wall = wall
        self._woken = asyncio.Event()
        self._courses: dict[ClusterId, _Course] = {}
        self._ahead: dict[ClusterId, float] = {}
        """By how many seconds each cluster's clock is ahead of ours, as far as its tokens have shown."""
        self._election: Election | None = None

    def wake(self) -> None:
        """A cluster's Secret or state is another."""
        self._woken.set()

    @property
    def refusal(self) -> str:
        """Why nobody is elected to renew, in words; "" where somebody is, or there is nothing to renew."""
        if self._election is None or not self._election.refusal:
            return ""
        return f"the tokens of clusters are not renewed: {self._election.refusal}"

    def remark(self, name: ClusterId) -> str:
        """What keeps a cluster's token from being renewed, in words; only who leads knows."""
        course = self._courses.get(name)
        return "" if course is None else course.trouble

    async def serve(self, home: Api) -> NoReturn:
        """Renew, for ever, whenever this replica is the one that does."""
        while not self._all():
            self._woken.clear()
            await self._woken.wait()
        async with running_election(
            home,
            lambda: self._lead(home),
            namespace=self._namespace,
            name=LEASE,
            wall=self._wall,
        ) as self._election:
            await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")

    def _all(self) -> dict[ClusterId, Renewable]:
        """The tokens in force that are ours to renew. While another is being tried, that decides first."""
        found: dict[ClusterId, Renewable] = {}
        for name, member in self._members.items():
            one = None if member.claim is None else renewable(member.claim)
            if one is not None and not member.refusal and member.cluster.in_force == one.access:
                found[name] = one
        return found

    async def _lead(self, home: Api) -> NoReturn:
        clock = asyncio.get_running_loop().time
        self._courses.clear()
        async with task_scope() as scope:
            while True:
                self._woken.clear()
                pause = _LOOK
                for name, one in self._all().items():
                    course = self._courses.get(name)
                    if course is None or course.of != one:
                        course = self._courses[name] = _Course(one)
                        # Nobody has a token before it is issued.
                        self._ahead[name] = max(self._ahead.get(name, 0.0), one.begins - self._wall())
                    wait = max(one.due - self._now_in(one), course.rests_until - clock())
                    if wait > 0:
                        pause = min(pause, wait)
                    elif not course.busy:
                        course.busy = True
                        scope.spawn(self._attempt(home, course), name=f"renewal {name}")
                try:
                    async with asyncio.timeout(pause):
                        await self._woken.wait()
                except TimeoutError:
                    pass

    def _now_in(self, one: Renewable) -> float:
        """The time by its cluster's clock, which decides when its token ends (Unix seconds)."""
        return self._wall() + self._ahead[one.cluster]

    async def _attempt(self, home: Api, course: _Course) -> None:
        """Renew one token, or rest and say why."""
        one, before, pause = course.of, course.trouble, course.backoff.next_delay()
        try:
            await self._renew(home, one)
            course.trouble = ""
            course.backoff.reset()
        except _Forbidden as error:
            course.trouble, pause = str(error), uniform(*_WITHOUT_RIGHTS)
        except (ApiError, Unreachable) as error:
            course.trouble = f"its token cannot be renewed now: {error}"
        except Exception as error:  # noqa: BLE001 - one cluster's fault must not become the others'
            if not before:
                _log.exception("renewal failed", cluster=one.cluster)
            course.trouble = f"its token cannot be renewed: {type(error).__name__}"
        if course.trouble not in ("", before):
            _log.warning("token not renewed", cluster=one.cluster, reason=course.trouble)
        left = one.ends - self._now_in(one)
        if left > 0:
            pause = min(pause, max(_LEAST_REST, left * _REST_SHARE))
        course.rests_until = asyncio.get_running_loop().time() + pause
        course.busy = False
        self.wake()

    async def _renew(self, home: Api, one: Renewable) -> None:
        """Do it, unless the Secret is another already. Raises ApiError (409 too), Unreachable, _Forbidden."""
        secret = await home.get(SECRET, one.secret.name, self._namespace)
        claims = [claim for claim in read_claims(secret) if claim.cluster == one.cluster]
        found = renewable(claims[0]) if claims else None
        remote = self._clients.get(one.cluster)
        if found is None or found.access != one.access or remote is None:
            return
        with _explaining("grant its reader tier renew (`isthmus cluster add` again, or rights.renew)"):
            token = await request_token(remote, one.namespace, one.account, one.seconds)
        issued, _ = token_span(token.text)
        if issued is not None:  # just now
            self._ahead[one.cluster] = issued - self._wall()
        async with self._connect(renewed_access(one, token)) as tried:
            try:
                await tried.get(NAMESPACE, "kube-system", "")
            except ApiError as error:
                if error.status != 403:  # known, and not allowed: as good as an answer
                    raise
        where = f"Secret {self._namespace}/{one.secret.name}"
        with _explaining(f"grant the control plane patch on {where} (`isthmus cluster add` again)"):
            version = secret.metadata.resource_version
            await home.patch(SECRET, one.secret.name, renewal_patch(one, token, version), self._namespace)
        _log.info("token renewed", cluster=one.cluster, expires=token.expires.isoformat(timespec="seconds"))


class _Forbidden(Exception):  # noqa: N818 - it is a state of affairs
    """A right is missing, and which."""


@contextmanager
def _explaining(remedy: str) -> Generator[None]:
    try:
        yield
    except ApiError as error:
        if error.status != 403:
            raise
        raise _Forbidden(f"its token cannot be renewed: {error}; {remedy}") from None
