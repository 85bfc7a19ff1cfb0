"""What the labelled Secrets beside the control plane claim, as they come, change and go.

Nothing is decided from half a list, which would let a younger Secret win for a moment. A Secret that is
deleted counts for a moment longer: `kubectl replace --force` and deployment tools delete what they then make
anew, and meanwhile its clusters' endpoints are not to go and come.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

import structlog

from isthmus.clusters.api import Api
from isthmus.clusters.health import observe
from isthmus.clusters.roster import MULTI_CLUSTER_LABEL, Claim, Roster, decide, read_claims
from isthmus.kube.decoding import Ref
from isthmus.kube.kinds import SECRET
from isthmus.kube.objects import Secret
from isthmus.kube.watch import Event, Phase, Removed, Synced, Upserted, WatchState
from isthmus.lib.lifecycle import TaskScope
from isthmus.model.service import ClusterId

GRACE = 1.0
"""Seconds for which a Secret that was deleted still counts."""
_log = structlog.stdlib.get_logger(__name__)


class Claims:
    """The claims of the Secrets in `namespace`; the name `own` is the control plane's own cluster's.

    `decided` is called with each new roster.
    """

    def __init__(
        self, scope: TaskScope, namespace: str, own: ClusterId, decided: Callable[[Roster], None]
    ) -> None:
        self.namespace = namespace
        self.listed = False
        """Whether all of them were read, so that all clusters of the mesh are known."""
        self.answered = asyncio.Event()
        """Whether they were read, or could not be."""
        self.watch: WatchState | None = None
        """How reading them goes; None before the first attempt."""
        self.roster = Roster({}, ())
        self._scope = scope
        self._own = own
        self._decided = decided
        self._claims: dict[Ref, tuple[Claim, ...]] = {}
        self._departures: dict[Ref, asyncio.Task[None]] = {}
        self._refused: dict[str, float] = {}

    @property
    def refused(self) -> Mapping[str, float]:
        """Why claims are not in force: each reason, and since when (Unix seconds)."""
        return self._refused

    async def serve(self, api: Api) -> NoReturn:
        """Follow the Secrets, for ever."""
        await api.watch(
            SECRET,
            self._secret,
            report=self._reported,
            namespace=self.namespace,
            label_selector=MULTI_CLUSTER_LABEL,
        )

    def _reported(self, watch: WatchState) -> None:
        self.watch = observe(self.watch, watch)
        if watch.phase is not Phase.LISTING:
            self.answered.set()

    def _secret(self, event: Event[Secret]) -> None:
        match event:
            case Upserted(secret):
                ref = _ref(secret)
                self._stay(ref)
                self._claims[ref] = read_claims(secret, self._claims.get(ref, ()))
            case Removed(secret):
                ref = _ref(secret)
                self._stay(ref)
                self._departures[ref] = self._scope.spawn(
                    self._depart(ref), name=f"departure of Secret {ref}"
                )
                return
            case Synced():
                self.listed = True
        if self.listed:
            self._decide()

    def _stay(self, ref: Ref) -> None:
        departure = self._departures.pop(ref, None)
        if departure is not None:
            departure.cancel()

    async def _depart(self, ref: Ref) -> None:
        await asyncio.sleep(GRACE)
        del self._departures[ref]
        self._claims.pop(ref, None)
        if self.listed:
            self._decide()

    def _decide(self) -> None:
        self.roster = decide((claim for claims in self._claims.values() for claim in claims), self._own)
        self._log_refusals()
        self._decided(self.roster)

    def _log_refusals(self) -> None:
        """Log what is refused, once."""
        before, now = self._refused, time.time()
        reasons = [claim.refusal for claim in self.roster.winners.values() if claim.access is None]
        reasons += [loser.reason for loser in self.roster.losers]
        self._refused = {reason: before.get(reason, now) for reason in reasons}
        for reason in sorted(self._refused.keys() - before.keys()):
            _log.warning("cluster refused", reason=reason)


def _ref(secret: Secret) -> Ref:
    return Ref(secret.metadata.namespace, secret.metadata.name)
