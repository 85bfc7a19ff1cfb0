"""What each remote's endpoints are worth at this moment, told to the view as it changes."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from isthmus.clusters.health import State
from isthmus.clusters.members import Member
from isthmus.clusters.standing import Standing, read_worth
from isthmus.config.mesh import StaleEndpoints
from isthmus.model.service import ClusterId


class Rating:
    """The standings of `members`; `rate` is told all of them. `stir` says that something may have changed."""

    def __init__(
        self,
        members: Mapping[ClusterId, Member],
        stale: StaleEndpoints,
        rate: Callable[[Mapping[ClusterId, Standing]], None],
    ) -> None:
        self._members = members
        self._stale = stale
        self._rate = rate
        self._stirred = asyncio.Event()

    def stir(self) -> None:
        """A cluster's state or claim is another."""
        self._stirred.set()

    def standing(self, member: Member) -> tuple[Standing, str]:
        """What one is worth now, and what is wrong with its own wishes, "" for nothing."""
        worth, flaw = self._worth(member)
        return member.absence.standing(asyncio.get_running_loop().time(), worth), flaw

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
        standings: dict[ClusterId, Standing] = {}
        dues: list[float] = []
        for name, member in self._members.items():
            if member.claim is None:
                continue
            worth, _ = self._worth(member)
            health = member.health
            if health.state is State.FRESH:
                member.absence = member.absence.back(now)
            elif health.state is not State.SYNCING:
                since = now - max(0.0, time.time() - health.since)
                member.absence = member.absence.lost(since, now, worth)
            standings[name] = member.absence.standing(now, worth)
            due = member.absence.due(now, worth)
            if due is not None:
                dues.append(due)
        self._rate(standings)
        return min(dues, default=None)

    def _worth(self, member: Member) -> tuple[StaleEndpoints, str]:
        if member.claim is None:
            return self._stale, ""
        return read_worth(member.claim.annotations, self._stale)
