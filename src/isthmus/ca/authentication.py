"""Who calls: a client certificate of ours, or a token that the cluster which issued it vouches for.

The cluster named in a call's metadata only says whom to ask: a token of another one is refused there. Answers
are remembered for a moment, under the token's digest, so that a stream and a signing request cost one
question. The token itself is never kept, logged or repeated.
"""

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import structlog
from cryptography import x509

from isthmus.ca.asking import Clusters, Question
from isthmus.ca.errors import UNREADABLE, ProofUnavailable, Unauthenticated
from isthmus.ca.memory import Memory
from isthmus.ca.rates import Rate, host_of
from isthmus.ca.review import Reviewer
from isthmus.ca.tokens import ISTIO_CA, Audiences, Claims, check_token, read_token
from isthmus.ca.wording import shown
from isthmus.model.identity import Identity, TrustDomain
from isthmus.model.service import ClusterId

_log = structlog.stdlib.get_logger(__name__)
_BEARER = "bearer "
_CLUSTER = "clusterid"

ClusterOf: TypeAlias = Callable[[str, str, str], Awaitable[ClusterId | None]]
"""The one cluster that shows a Pod, by namespace, name and its proxy's address; None where none does."""


async def in_none(namespace: str, pod: str, address: str) -> ClusterId | None:
    """For meshes whose callers all name their clusters."""
    return None


_Answer: TypeAlias = tuple[Identity | str, Reviewer | None]
"""Who it is or why nobody, and the cluster that said so."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call brought to prove who calls. `certificate` is a verified client certificate, DER.

    `cluster` is where the caller says to be, "" where it says nothing; `peer` is its address, for logs.
    """

    peer: str
    token: str = field(default="", repr=False)
    certificate: bytes = b""
    cluster: ClusterId = ClusterId("")  # noqa: RUF009 - a NewType, no call


def credentials_of(headers: Mapping[str, str], certificate: bytes | None, peer: str) -> Credentials:
    """The credentials of a call, from its header fields by lower-case name, verified certificate and peer.

    Istio's metadata: `authorization: Bearer TOKEN` and `clusterid`. A field that came twice is joined by
    commas, as HTTP has it, and then is neither a token nor a cluster's name.
    """
    authorization = headers.get("authorization", "")
    bearer = authorization.lower().startswith(_BEARER)
    return Credentials(
        peer=peer,
        token=authorization[len(_BEARER) :].strip() if bearer else "",
        certificate=certificate or b"",
        cluster=ClusterId(headers.get(_CLUSTER, "")[:256]),
    )


@dataclass(frozen=True, slots=True)
class ReviewLimits:
    """How tokens are reviewed. Times in seconds; `at_once` counts questions to one cluster."""

    timeout: float = 5.0
    at_once: int = 32
    remember: float = 60.0
    remember_refusal: float = 5.0
    most_remembered: int = 20_000
    refusals_burst: int = 50
    refusals_per_second: float = 1.0
    """Refused tokens that one address may present before it is not listened to for a while; and refusals of
    one address that are logged, while all are counted.
    """


class Authenticator:
    """Proves callers. `reviewers` are the clusters of the registry as they are at each call, `home` our own.

    The sidecars of a cluster that was given no name name none. Then the cluster is asked that shows the Pod
    which the token claims to be bound to, found by `cluster_of` (namespace, name, the caller's address); and
    home for a token that is bound to none (Istio: kubeauth).
    """

    def __init__(
        self,
        trust_domain: TrustDomain,
        reviewers: Mapping[ClusterId, Reviewer],
        *,
        home: ClusterId,
        cluster_of: ClusterOf = in_none,
        audiences: Audiences = ISTIO_CA,
        limits: ReviewLimits = ReviewLimits(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.refused = 0
        """Callers that proved nothing, since the start."""
        self.unavailable = 0
        """Callers whose proof could not be judged."""
        self._trust_domain = trust_domain
        self._audiences = audiences
        self._limits = limits
        self._clock = clock
        self._known: Memory[_Answer] = Memory(limits.most_remembered)
        self._home = home
        self._reviewers = reviewers
        self._cluster_of = cluster_of
        self._clusters = Clusters(trust_domain, reviewers, timeout=limits.timeout, at_once=limits.at_once)
        self._patience = Rate(limits.refusals_burst, limits.refusals_per_second)
        self._telling = Rate(limits.refusals_burst, limits.refusals_per_second)

    @property
    def troubles(self) -> Mapping[ClusterId, str]:
        """Why tokens cannot be judged, by the clusters where that is so."""
        return self._clusters.troubles

    async def authenticate(self, credentials: Credentials) -> Identity:
        """Who calls. Raises Unauthenticated or ProofUnavailable; either was counted and logged."""
        try:
            return await self._prove(credentials)
        except Unauthenticated as refusal:
            self.refused += 1
            self._tell("caller refused", credentials, refusal)
            raise
        except ProofUnavailable as failure:
            self.unavailable += 1
            self._tell("caller cannot be proved now", credentials, failure)
            raise

    async def _prove(self, credentials: Credentials) -> Identity:
        """By the token, which says more, and else by the certificate."""
        if credentials.token or not credentials.certificate:
            try:
                return await self._by_token(credentials)
            except (Unauthenticated, ProofUnavailable):
                if not credentials.certificate:
                    raise
        return identity_of_certificate(credentials.certificate, self._trust_domain, self._clock())

    def _tell(self, event: str, credentials: Credentials, why: Unauthenticated | ProofUnavailable) -> None:
        if not self._telling.take(host_of(credentials.peer), self._clock()):
            return
        _log.warning(
            event,
            peer=credentials.peer,
            cluster=shown(credentials.cluster),
            claimed=why.claimed,
            proved="",
            reason=why.reason,
        )

    def _stands(self, known: "_Answer") -> bool:
        """Whether the cluster that vouched is the one that has its name now: it may have left since."""
        identity, voucher = known
        return isinstance(identity, str) or self._reviewers.get(identity.cluster) is voucher

    async def _find_cluster(self, claims: Claims, host: str) -> ClusterId:
        if claims.pod is None:
            return self._home
        cluster = await self._cluster_of(*claims.pod, host)
        if cluster is None:
            self._patience.take(host, self._clock())
            raise ProofUnavailable("it names no cluster, and no one cluster shows the Pod of its token")
        return cluster

    async def _by_token(self, credentials: Credentials) -> Identity:
        token, cluster = credentials.token, credentials.cluster
        if not token:
            raise Unauthenticated("it brought neither a token nor a client certificate")
        claims = read_token(token)
        now = self._clock()
        question = Question(token, check_token(claims, self._audiences, now))
        digest = hashlib.sha256(f"{cluster}\0{token}".encode()).digest()
        known = self._known.get(digest, now)
        if known is None or not self._stands(known):
            host = host_of(credentials.peer)
            if not self._patience.has(host, now):
                raise ProofUnavailable("its address sent too many refused tokens", claimed=claims.subject)
            try:
                asked = cluster or await self._find_cluster(claims, host)
                voucher = self._reviewers.get(asked)
                answer = await self._clusters.ask(asked, question)
            except ProofUnavailable as failure:
                raise ProofUnavailable(failure.reason, claimed=claims.subject) from None
            kept = self._limits.remember_refusal if isinstance(answer, str) else self._limits.remember
            if isinstance(answer, str):
                self._patience.take(host, now)
            else:
                answer = replace(answer, expires=claims.expires)
            known = answer, voucher
            self._known.put(digest, known, until=min(self._clock() + kept, claims.expires))
        answer, _ = known
        if isinstance(answer, str):
            raise Unauthenticated(answer, claimed=claims.subject)
        return answer


def identity_of_certificate(der: bytes, trust_domain: TrustDomain, now: float) -> Identity:
    """The workload that a client certificate names; that it is ours, and was valid when the connection
    began, TLS has verified. A connection may outlive it: `now` is in Unix seconds.

    SPIFFE's rule: exactly one URI SAN. Raises Unauthenticated.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (*UNREADABLE, x509.ExtensionNotFound):
        raise Unauthenticated("its certificate names no workload") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise Unauthenticated(f"its certificate has {len(uris)} URI SANs, not one")
    identity = trust_domain.read(uris[0])
    if identity is None:
        raise Unauthenticated(
            "its certificate is for no workload of this trust domain", claimed=shown(uris[0])
        )
    expires = certificate.not_valid_after_utc.timestamp()
    if expires <= now:
        raise Unauthenticated(f"its certificate expired {now - expires:.0f} s ago", claimed=identity.uri)
    return replace(identity, expires=expires)
