"""Asking a cluster whether it vouches for a token.

A cluster is asked only so many questions at once, and waited for only so long. A token is shown to one
cluster and no other, since whoever reads it could present it as its own.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from isthmus.ca.errors import ProofUnavailable, Unauthenticated
from isthmus.ca.review import Reviewer, review_token
from isthmus.model.identity import Identity, TrustDomain
from isthmus.model.service import ClusterId


@dataclass(frozen=True, slots=True)
class Question:
    """A token, and the audiences that it must be for; () for the API server's own."""

    token: str
    audiences: tuple[str, ...]

    def __repr__(self) -> str:
        return "Question(…)"


class Clusters:
    """The clusters that may vouch. `reviewers` are those of the registry as they are at each question."""

    def __init__(
        self,
        trust_domain: TrustDomain,
        reviewers: Mapping[ClusterId, Reviewer],
        *,
        timeout: float,
        at_once: int,
    ) -> None:
        self.troubles: dict[ClusterId, str] = {}
        """Why the latest token could not be judged, by the clusters where that is so."""
        self._trust_domain = trust_domain
        self._reviewers = reviewers
        self._timeout = timeout
        self._at_once = at_once
        self._turns: dict[ClusterId, asyncio.Semaphore] = {}

    async def ask(self, cluster: ClusterId, question: Question) -> Identity | str:
        """Whose token it is, or why that cluster does not accept it. Raises ProofUnavailable."""
        reviewer = self._reviewers.get(cluster)
        if reviewer is None:
            return "its cluster is not in this mesh"
        turn = self._turns.setdefault(cluster, asyncio.Semaphore(self._at_once))
        try:
            async with asyncio.timeout(self._timeout):
                await turn.acquire()
        except TimeoutError:
            raise ProofUnavailable("its cluster has too many tokens to review") from None
        try:
            account = await review_token(reviewer, question.token, question.audiences, timeout=self._timeout)
        except ProofUnavailable as failure:
            self.troubles[cluster] = f"its proxies cannot prove who they are: {failure.reason}"
            raise
        except Unauthenticated as refusal:
            self.troubles.pop(cluster, None)
            return refusal.reason
        finally:
            turn.release()
        self.troubles.pop(cluster, None)
        return Identity(self._trust_domain.name, account.namespace, account.name, cluster, account.pod)
