"""What each remote's endpoints are worth at this moment, told to the view as it changes.

Absences are counted in the loop's time, which never jumps; a drain follows the wall clock, on which replicas
agree.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from isthmus.clusters.draining import WHOLE, Drain, read_drain
from isthmus.clusters.health import State
from isthmus.clusters.members import Member
from isthmus.clusters.roster import Claim
from isthmus.clusters.standing import Standing, Worth, read_worth
from isthmus.config.mesh import StaleEndpoints
from isthmus.model.service import ClusterId

_LOOK = 60.0
"""Seconds after which the wall clock is asked again."""


class Rating:
    """The worth of `members`; `rate` is told all of it. `stir` says that something may have changed.

    `wall` tells Unix seconds.
    """

    def __init__(
        self,
        members: Mapping[ClusterId, Member],
        stale: StaleEndpoints,
        rate: Callable[[Mapping[ClusterId, Worth]], None],
        wall: Callable[[], float],
    ) -> None:
        self._members = members
        self._stale = stale
        self._rate = rate
        self._wall = wall
        self._stirred = asyncio.Event()

    def stir(self) -> None:
        """A cluster's state or claim is another."""
        self._stirred.set()

    def standing(self, member: Member) -> Standing:
        """How one stands now by what is known of its health."""
        return member.absence.standing(asyncio.get_running_loop().time(), self._policy(member)[0])

    def drain(self, member: Member) -> str:
        """How far one is drained, in words; "" where it is not to be."""
        drain = None if member.claim is None else _drain(member.claim)[0]
        return "" if drain is None else drain.describe(self._wall())

    def flaws(self, member: Member) -> tuple[str, ...]:
        """What is wrong with the wishes on its Secret."""
        if member.claim is None:
            return ()
        return tuple(filter(None, (self._policy(member)[1], _drain(member.claim)[1])))

    async def serve(self) -> NoReturn:
        """Rate whenever a cluster's state changes, and when one has been stale for long enough."""
        while True:
            self._stirred.clear()
            try:
                async with asyncio.timeout_at(self._rate_all()):
                    await self._stirred.wait()
            except TimeoutError:
                continue

    def _rate_all(self) -> float | None:
        """Rate all remotes now; when the next rating is due, in the loop's time, None for not by itself.

        The own cluster always has full standing: who would be served instead?
        """
        now = asyncio.get_running_loop().time()
        worths: dict[ClusterId, Worth] = {}
        wall = self._wall()
        dues: list[float] = []
        for name, member in self._members.items():
            if member.claim is None:
                continue
            policy, _ = self._policy(member)
            drain, _ = _drain(member.claim)
            health = member.health
            if health.state is State.FRESH:
                member.absence = member.absence.back(now)
            elif health.state is not State.SYNCING:
                since = now - max(0.0, time.time() - health.since)
                member.absence = member.absence.lost(since, now, policy)
            worths[name] = Worth(
                member.absence.standing(now, policy), WHOLE if drain is None else drain.share(wall)
            )
            due = member.absence.due(now, policy)
            if due is not None:
                dues.append(due)
            step = None if drain is None else drain.due(wall)
            if step is not None:
                dues.append(now + min(step - wall, _LOOK))
        self._rate(worths)
        return min(dues, default=None)

    def _policy(self, member: Member) -> tuple[StaleEndpoints, str]:
        if member.claim is None:
            return self._stale, ""
        return read_worth(member.claim.annotations, self._stale)


def _drain(claim: Claim) -> tuple[Drain | None, str]:
    return read_drain(claim.annotations, claim.cluster)
