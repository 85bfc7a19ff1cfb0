"""All streams of one process. It opens no socket and starts no task: a transport gives it streams, and is
woken.

A change costs work for its own resources and for the streams that follow them; no other stream is visited.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from isthmus.model.proxy import Proxy
from isthmus.model.resources import Resource, ScopeChange
from isthmus.xds.counters import Counters
from isthmus.xds.errors import ProtocolError
from isthmus.xds.lane import Lane
from isthmus.xds.preparing import Preparing
from isthmus.xds.session import Provider, Session, Shared
from isthmus.xds.shelf import Form
from isthmus.xds.shelves import Outlook
from isthmus.xds.subscription import Nack
from isthmus.xds.transport import Wire

__all__ = ["ClientStatus", "Hub", "Provider", "TypeStatus"]


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type on one stream. `names` are those that are subscribed to one by one. Nonces are "" before the
    first; `synced` is as Istio's SYNCED. `updated` is when the last response was sent, in seconds since the
    epoch, 0 before the first.
    """

    type_url: str
    names: frozenset[str]
    wildcard: bool
    sent: str
    acked: str
    pending: bool
    nack: Nack | None
    updated: float = 0.0

    @property
    def synced(self) -> bool:
        """Whether the proxy accepted the latest there is."""
        return not self.pending and self.sent == self.acked


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """One stream. `since` is in seconds since the epoch."""

    proxy: Proxy
    peer: str
    form: Form
    since: float
    types: tuple[TypeStatus, ...]


class Hub:
    """Gives streams what their proxies' scopes hold, and changes of it as they are published.

    `clock` counts seconds, and never goes back.
    """

    def __init__(self, provider: Provider, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = Shared(provider, clock)
        self._foreseen: list[Outlook[Lane]] = []

    @property
    def counters(self) -> Counters:
        """Totals since the process began."""
        return self._shared.counters

    @property
    def preparing(self) -> Preparing:
        """What streams wait for; somebody must take its steps."""
        return self._shared.preparing

    def foresee(self, proxies: Iterable[Proxy]) -> Iterator[None]:
        """Prepare what these proxies would see, a little at each step, and keep it from now on: those like
        them who come first, all at once after a start, find it there.
        """
        shared = self._shared
        self._foreseen = [shared.shelves.outlook(shared.provider.scopes(proxy)) for proxy in proxies]
        for outlook in self._foreseen:
            yield from outlook.preparing()

    @property
    def responses_built(self) -> int:
        """Distinct response messages; streams with the same content share one."""
        return self._shared.responses.built

    def violated(self, peer: str, error: ProtocolError) -> None:
        """Somebody broke the protocol before there was a stream of theirs."""
        self._shared.violated(peer, error)

    def connect(self, form: Form, wire: Wire, proxy: Proxy | None = None) -> Session:
        """A new stream, of `proxy` or of whom its first request names. Its `closed` must be called when it is
        over.
        """
        return Session(self._shared, form, wire, proxy)

    def publish(self, changes: Sequence[ScopeChange], since: float | None = None) -> None:
        """Make the named resources due wherever they are followed. Nothing is derived here: that waits until
        the first stream can take it, which is in this turn of the loop unless all of them are behind.

        `since` is when the change was known, on the hub's clock; None: now.
        """
        known = self._shared.clock() if since is None else since
        woken: dict[Wire, None] = {}
        shelves = self._shared.shelves
        for change in changes:
            for batch, followers in shelves.changed(change, known):
                alone = (batch,)
                for lane in followers:
                    lane.due = shelves.merge(lane.due, batch) if lane.due else alone
                    woken[lane.wire] = None
        if woken:
            self.counters.pushes += 1
        for wire in woken:
            wire.wake()

    def rescope(self, node_ids: Iterable[str]) -> None:
        """Ask anew which scopes these proxies have; unknown ones are skipped."""
        for node_id in node_ids:
            for session in tuple(self._shared.by_node.get(node_id, ())):
                session.rescope()

    def sweep(self) -> None:
        """Wake streams that are owed something, for some may have waited long enough for an answer. Call it
        every few seconds.
        """
        for session in self._shared.sessions:
            if any(lane.due for lane in session.lanes.values()):
                session.wire.wake()

    def connected(self) -> dict[Form, int]:
        """How many streams there are of each form."""
        return Counter(session.form for session in self._shared.sessions)

    def clients(self) -> list[ClientStatus]:
        """Every proxy's stream, in the order in which they came."""
        epoch = time.time() - self._shared.clock()
        return [
            _status(session, one, epoch)
            for session in self._shared.sessions
            if (one := session.proxy) is not None
        ]

    def held(self, node_id: str) -> dict[str, dict[str, Resource]]:
        """What a proxy holds as far as it told: by type and name. Empty for one that is not connected."""
        for session in self._shared.by_node.get(node_id, ()):
            return {type_url: lane.held() for type_url, lane in session.lanes.items()}
        return {}


def _status(session: Session, proxy: Proxy, epoch: float) -> ClientStatus:
    return ClientStatus(
        proxy=proxy,
        peer=session.wire.peer,
        form=session.form,
        since=session.since,
        types=tuple(_type_status(lane, epoch) for lane in session.lanes.values()),
    )


def _type_status(lane: Lane, epoch: float) -> TypeStatus:
    one = lane.subscription
    return TypeStatus(
        type_url=one.type_url,
        names=one.interest.names,
        wildcard=one.interest.wildcard,
        sent=one.nonce,
        acked=one.acked,
        pending=bool(lane.due),
        nack=one.nack,
        updated=epoch + one.sent_at if one.nonce else 0.0,
    )
