"""Who may read the control plane's debug pages: people and accounts of its own cluster, by a bearer token.

Accounts of the control plane's own namespace may, as istiod has it for its system namespace; others where a
ClusterRole lets them `get` the page as a nonResourceURL (`/debug/*`). A token is for the API server, or for
the audience `isthmus-debug`, which is good for nothing else: a token for certificates opens no page.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping

import structlog

from isthmus.ca.errors import NotAdmitted, ProofUnavailable, Unauthenticated
from isthmus.ca.memory import Memory
from isthmus.ca.rates import Rate
from isthmus.ca.review import Reviewer, User, may_read, review_user
from isthmus.ca.tokens import MOST_BYTES, read_token
from isthmus.ca.wording import shown
from isthmus.model.service import ClusterId

_log = structlog.stdlib.get_logger(__name__)
AUDIENCE = "isthmus-debug"
_TIMEOUT = 5.0
_AT_ONCE = 8
_REMEMBER = 30.0
_MOST_REMEMBERED = 1000
_BURST, _PER_SECOND = 20, 1.0
"""Questions on behalf of one address."""


class Readers:
    """Judges readers by the home cluster. `reviewers` is live: the clusters of the registry."""

    def __init__(
        self,
        reviewers: Mapping[ClusterId, Reviewer],
        *,
        home: ClusterId,
        namespace: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reviewers = reviewers
        self._home = home
        self._namespace = namespace
        self._clock = clock
        self._known: Memory[str] = Memory(_MOST_REMEMBERED)
        """Refusals by token and path; "" for none."""
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._rate = Rate(_BURST, _PER_SECOND)

    async def check(self, token: str, path: str, host: str) -> None:
        """Whether the bearer of `token` may read `path`; `host` is where it asks from.

        Raises Unauthenticated where the token proves nothing, NotAdmitted where its owner may not, and
        ProofUnavailable where that cannot be found out now.
        """
        if not token:
            raise Unauthenticated("no bearer token was given")
        if len(token) > MOST_BYTES:
            raise Unauthenticated(f"the token has more than {MOST_BYTES} characters")
        now = self._clock()
        digest = hashlib.sha256(f"{path}\0{token}".encode()).digest()
        refusal = self._known.get(digest, now)
        if refusal is None:
            if not self._rate.take(host, now):
                raise ProofUnavailable("too many tokens came from this address")
            try:
                async with asyncio.timeout(_TIMEOUT), self._turns:
                    refusal = await self._judge(token, path)
            except TimeoutError:
                raise ProofUnavailable("the cluster did not answer in time") from None
            except Unauthenticated as failure:
                _log.warning("reader refused", host=host, path=path, reason=failure.reason)
                raise
            if refusal:
                _log.warning("reader refused", host=host, path=path, reason=refusal)
            self._known.put(digest, refusal, until=now + _REMEMBER)
        if refusal:
            raise NotAdmitted(refusal)

    async def _judge(self, token: str, path: str) -> str:
        reviewer = self._reviewers.get(self._home)
        if reviewer is None:
            raise ProofUnavailable("the control plane's own cluster is not connected")
        user = await review_user(reviewer, token, _audiences(token), timeout=_TIMEOUT)
        if self._is_ours(user) or await may_read(reviewer, user, path, timeout=_TIMEOUT):
            return ""
        return f"{shown(user.username)} may not get the nonResourceURL {path}"

    def _is_ours(self, user: User) -> bool:
        account = user.account
        return account is not None and account.namespace == self._namespace


def _audiences(token: str) -> tuple[str, ...]:
    """What to demand of the token: our audience where it names that, else the API server's own."""
    try:
        return (AUDIENCE,) if AUDIENCE in read_token(token).audiences else ()
    except Unauthenticated:
        return ()  # Not every API server's tokens are JWTs.
