"""Which cluster vouches for a token: the one that the caller names, or whichever does where it names none.

A cluster is asked only so many questions at once, and waited for only so long. A token that comes with a
cluster's name is shown to no other.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isthmus.ca.errors import ProofUnavailable, Unauthenticated
from isthmus.ca.review import Reviewer, review_token
from isthmus.lib.lifecycle import task_scope
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
        home: ClusterId,
        timeout: float,
        at_once: int,
    ) -> None:
        self.troubles: dict[ClusterId, str] = {}
        """Why the latest token could not be judged, by the clusters where that is so."""
        self._trust_domain = trust_domain
        self._reviewers = reviewers
        self._home = home
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

    async def ask_around(self, question: Question) -> Identity | str:
        """Whose token it is, says home or else the first of the others that accepts it; or why none does.

        Raises ProofUnavailable where none accepts it, and one could not be asked.
        """
        answers = [await self._settled(self._home, question)]
        others = [name for name in self._reviewers if name != self._home]
        if others and not isinstance(answers[0], Identity):
            answers += await self._first_of(others, question)
        for answer in reversed(answers):
            if isinstance(answer, Identity):
                return answer
        for answer in answers:
            if isinstance(answer, ProofUnavailable):
                raise answer
        return str(answers[0]) if len(answers) == 1 else "no cluster of this mesh accepts the token"

    async def _first_of(
        self, clusters: Sequence[ClusterId], question: Question
    ) -> list[Identity | str | ProofUnavailable]:
        """Answers as they come, until one accepts."""
        answers: list[Identity | str | ProofUnavailable] = []
        async with task_scope() as tasks:
            asked = [tasks.spawn(self._settled(name, question), name="review") for name in clusters]
            for answered in asyncio.as_completed(asked):
                answers.append(await answered)
                if isinstance(answers[-1], Identity):
                    break
        return answers

    async def _settled(self, cluster: ClusterId, question: Question) -> Identity | str | ProofUnavailable:
        try:
            return await self.ask(cluster, question)
        except ProofUnavailable as failure:
            return failure
