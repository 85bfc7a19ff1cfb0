"""One stream: its subscriptions, and what it is to be sent next. No I/O.

Order is make before break (xDS protocol, "Eventual consistency considerations"): clusters, then their
endpoints, then listeners, then routes; but clusters that are gone are taken away only after listeners and
routes have let go of them. After clusters their endpoints are sent again even if they did not change: Envoy
warms a changed cluster until it gets them (envoy #13009). For this a ClusterLoadAssignment has the name of
its cluster.

A type has one response on the way: until it is answered, changes coalesce, so a proxy that falls behind gets
the latest state and not each state. A proxy that never answers is sent the next after `PATIENCE` seconds all
the same.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from isthmus.model.proxy import Proxy
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, PUSH_ORDER, ROUTE, Scope
from isthmus.xds.counters import Counters
from isthmus.xds.due import (
    Batches,
    changes,
    known_since,
    locate,
    merge,
    names_of,
    pages,
    removes,
    still_there,
    without,
    without_rejected,
)
from isthmus.xds.errors import ProtocolError
from isthmus.xds.interest import Interest, Interests
from isthmus.xds.lane import Lane
from isthmus.xds.node import read_node
from isthmus.xds.preparing import NotPreparedError, Preparing
from isthmus.xds.requests import Requests
from isthmus.xds.responses import Response, Responses
from isthmus.xds.shelf import Batch, Form
from isthmus.xds.shelves import Outlook, Shelves
from isthmus.xds.subscription import NOTHING, WHOLE_TYPES, Answer, Due, Subscription
from isthmus.xds.transport import Wire
from isthmus.xds.wire import Request

log = structlog.get_logger()

_MOST_TYPES = 32
_DEPENDENTS = (LISTENER, ROUTE)
_RANK = {type_url: rank for rank, type_url in enumerate(PUSH_ORDER)}


class Provider(Protocol):
    """Where a proxy's resources come from."""

    def scopes(self, proxy: Proxy) -> Sequence[Scope]:
        """The scopes whose union is what this proxy is served; no two hold the same type and name. What is
        answered is kept for as long as a proxy sees these scopes, and is not to change.
        """
        ...


@dataclass(frozen=True, slots=True)
class Shared:
    """What the sessions of one hub have in common."""

    provider: Provider
    clock: Callable[[], float]
    sessions: "dict[Session, None]" = field(default_factory=dict["Session", None])
    by_node: "dict[str, dict[Session, None]]" = field(default_factory=dict[str, dict["Session", None]])
    interests: Interests = field(default_factory=Interests)
    requests: Requests = field(default_factory=Requests)
    shelves: Shelves[Lane] = field(default_factory=Shelves[Lane])
    nowhere: Outlook[Lane] = field(default_factory=lambda: Outlook((), Shelves()))
    responses: Responses = field(default_factory=Responses)
    counters: Counters = field(default_factory=Counters)
    preparing: Preparing = field(default_factory=Preparing)

    def violated(self, peer: str, error: ProtocolError) -> None:
        """Somebody broke the protocol."""
        self.counters.violations += 1
        log.warning("proxy broke the xDS protocol", peer=peer, reason=str(error))


class Session:
    """An `xds.transport.Exchange`. `proxy` is None until the first request, unless it is known before."""

    __slots__ = (
        "_blocks",
        "_known",
        "_open",
        "_outlook",
        "_shared",
        "_warming",
        "form",
        "lanes",
        "proxy",
        "since",
        "wire",
    )

    def __init__(self, shared: Shared, form: Form, wire: Wire, proxy: Proxy | None = None) -> None:
        self.form = form
        self.wire = wire
        self.since = time.time()
        self.proxy: Proxy | None = None
        self.lanes: dict[str, Lane] = {}
        """By type, in the order in which changes are made."""
        self._outlook = shared.nowhere
        self._shared = shared
        self._warming: Batches = ()
        self._blocks: list[bytes] = []
        self._open = True
        self._known = proxy
        shared.sessions[self] = None

    def _introduce(self, proxy: Proxy) -> None:
        shared = self._shared
        if not self._outlook.prepared:
            raise NotPreparedError
        outlook = self._outlook = shared.shelves.outlook(shared.provider.scopes(proxy))
        if not outlook.prepared:
            shared.preparing.wait(outlook, self.wire.wake)
            raise NotPreparedError
        self.proxy = proxy
        shared.by_node.setdefault(proxy.node_id, {})[self] = None

    def receive(self, message: bytes) -> None:
        """See `Exchange`. Raises NotPreparedError for the first request, and has done nothing with it."""
        if not self._open:
            return
        shared = self._shared
        try:
            if self.form is Form.WHOLE:
                request = shared.requests.whole(message, self._blocks, shared.interests.recent)
                lane = self.lanes.get(request.type_url) or self._lane(request.type_url, request.node)
                plain = request.error is None and lane.subscription.acknowledge(request.names, request.nonce)
                if not plain:
                    self._ask(lane, request)
            else:
                delta = shared.requests.delta(message)
                lane = self.lanes.get(delta.type_url) or self._lane(delta.type_url, delta.node)
                before = lane.subscription.interest
                self._settle(lane, before, *lane.subscription.ask_delta(delta))
        except ProtocolError as error:
            shared.violated(self.wire.peer, error)
            raise
        for lane in self.lanes.values():
            if lane.due:
                self.wire.wake()
                break

    def _ask(self, lane: Lane, request: Request) -> None:
        """A state-of-the-world request that is more than an ACK."""
        subscription = lane.subscription
        before, block = subscription.interest, subscription.block
        answer, due = subscription.ask(request.names, request.nonce, request.error)
        if subscription.block is not block and (block or subscription.block):
            self._blocks = [one for lane in self.lanes.values() if (one := lane.subscription.block)]
        self._settle(lane, before, answer, due)

    def _settle(self, lane: Lane, before: Interest, answer: Answer, due: Due) -> None:
        """What a request changed: who follows what, and what is due."""
        if answer is not Answer.ACK and answer is not Answer.NONE:
            self._note(answer, lane)
        if lane.subscription.interest is not before:
            lane.follow(before, self._shared.interests.nothing)
        if due is not NOTHING and (due.everything or due.names):
            self._owe(lane, due)

    def _lane(self, type_url: str, node: bytes) -> Lane:
        if not type_url:
            raise ProtocolError("the request has no type_url")
        if self.proxy is None:
            if self._known is None and not node:
                raise ProtocolError("the stream's first request has no node")
            self._introduce(self._known or read_node(node))
        if len(self.lanes) >= _MOST_TYPES:
            raise ProtocolError(f"more than {_MOST_TYPES} resource types on one stream")
        lane = Lane(self.wire, Subscription(type_url, self._shared.interests), self._outlook)
        rank = _RANK.get(type_url, len(_RANK))
        later = [one for one in self.lanes if _RANK.get(one, len(_RANK)) > rank]
        self.lanes[type_url] = lane
        for one in later:
            self.lanes[one] = self.lanes.pop(one)
        return lane

    def _note(self, answer: Answer, lane: Lane) -> None:
        counters, subscription = self._shared.counters, lane.subscription
        if answer is Answer.STALE:
            counters.stale += 1
        elif subscription.nack is not None and self.proxy is not None:
            counters.rejects[subscription.type_url] += 1
            log.warning(
                "proxy rejected configuration",
                proxy=self.proxy.node_id,
                type=subscription.type_url,
                nonce=subscription.nack.nonce,
                reason=subscription.nack.reason,
            )

    def _owe(self, lane: Lane, due: Due) -> None:
        """Put what a request asked for on top of what is due."""
        type_url, known, shelves = lane.subscription.type_url, due.known, lane.shelves
        if due.everything:
            batches, missing = [shelf.everything() for shelf in shelves], frozenset[str]()
            if due.names or known:
                here = {name for batch in batches for name in batch.held}
                missing = (due.names | known.keys()) - here
        else:
            batches, missing = locate(shelves, due.names)
        if known:
            afresh = names_of(self._warming) if type_url == ENDPOINT else frozenset[str]()
            batches = [without(batch, known, afresh) for batch in batches]
        if type_url == ENDPOINT:
            self._warming = ()
        if (missing and self.form is Form.DELTA) or not batches:
            batches.append(Batch.removing(dict.fromkeys(sorted(missing))))
        if self.form is Form.DELTA and type_url not in _RANK:
            # Of what makes no configuration any part is of use, and there may be very much.
            lane.later = [*reversed(pages(tuple(batches))), *lane.later]
            batches = [lane.later.pop()] if lane.later else batches
        if not lane.due:
            lane.due = tuple(batches)
            return
        for batch in batches:
            lane.due = merge(lane.due, batch)

    def take(self) -> bytes | None:
        """See `Exchange`."""
        now = self._shared.clock()
        again = self._open
        while again:
            again, blocked = False, False
            for type_url, lane in self.lanes.items():
                if not lane.due:
                    continue
                if lane.waits(now):
                    blocked = blocked or (type_url == CLUSTER and changes(lane.due))
                elif not (blocked and type_url in _DEPENDENTS):
                    response = self._respond(lane, now)
                    if lane.later:
                        lane.due, again = merge(lane.due, lane.later.pop()), again or response is None
                    if response is not None:
                        self._shared.counters.sent(type_url, len(response.data), response.place)
                        return response.data
                    again = again or not lane.due  # It came to nothing, so what waited for it may go.
        return None

    def _respond(self, lane: Lane, now: float) -> Response | None:
        """The next response of a lane; None if what is due turns out to be what the proxy holds."""
        subscription, batches = lane.subscription, lane.due
        lane.due = ()
        since = known_since(batches)
        if subscription.rejected:
            batches = tuple(without_rejected(batch, subscription.rejected) for batch in batches)
        changed, gone = changes(batches), removes(batches)
        if gone and subscription.type_url == CLUSTER and self._removals_wait(now):
            batches, gone = self._postpone_removals(lane, batches), False
        first = not subscription.nonce and subscription.interest.wildcard
        whole = self.form is Form.WHOLE
        everything = whole and (subscription.type_url in WHOLE_TYPES or subscription.interest.wildcard)
        if not (changed or first or (gone and (everything or not whole))):
            return None
        content = self._everything(lane) if everything else batches
        kept = still_there(lane.due, content) if everything else ()
        response = self._shared.responses.of(self.form, subscription.type_url, content, kept)
        if since:
            self._shared.counters.converged(now - since)
        subscription.record(response.nonce, batches, now, complete=everything)
        if subscription.type_url == CLUSTER and changed:
            self._warm(batches)
        return response

    def _removals_wait(self, now: float) -> bool:
        """Whether listeners or routes may still refer to clusters that are gone."""
        lanes = (self.lanes.get(type_url) for type_url in _DEPENDENTS)
        return any(lane is not None and (lane.due or lane.waits(now)) for lane in lanes)

    def _postpone_removals(self, lane: Lane, batches: Batches) -> Batches:
        """Leave what is gone due, and return the rest. What moves between scopes is not gone."""
        sent = names_of(batches)
        for batch in batches:
            held = batch.split()[1].held
            gone = {name: one for name, one in held.items() if name not in sent}
            if gone:
                lane.due = merge(lane.due, Batch.removing(gone))
        return tuple(batch.split()[0] for batch in batches)

    def _everything(self, lane: Lane) -> Batches:
        if lane.subscription.interest.wildcard:
            batches = [shelf.everything() for shelf in lane.shelves]
        else:
            batches, _ = locate(lane.shelves, lane.subscription.interest.names)
        return tuple(batch for batch in batches if batch.held)

    def _warm(self, clusters: Batches) -> None:
        """Make the endpoints of clusters that were just sent due again."""
        lane = self.lanes.get(ENDPOINT)
        if lane is None:
            self._warming = clusters
            return
        names = lane.subscription.interest.among(names_of(clusters))
        for batch in locate(lane.shelves, names)[0]:
            lane.due = merge(lane.due, batch)

    def rescope(self) -> None:
        """Ask for the proxy's scopes anew; what that changes becomes due."""
        if self.proxy is None or not self._open:
            return
        after = self._shared.shelves.outlook(self._shared.provider.scopes(self.proxy))
        if not after.prepared:
            self._shared.preparing.wait(after, self.rescope)
            return
        if after is self._outlook:
            return
        self._outlook = after
        for lane in self.lanes.values():
            lane.move(after, self._shared.interests.nothing)
        self.wire.wake()

    def closed(self) -> None:
        """See `Exchange`."""
        if not self._open:
            return
        self._open = False
        del self._shared.sessions[self]
        if self.proxy is not None:
            streams = self._shared.by_node[self.proxy.node_id]
            del streams[self]
            if not streams:
                del self._shared.by_node[self.proxy.node_id]
        for lane in self.lanes.values():
            before, lane.subscription.interest = lane.subscription.interest, self._shared.interests.nothing
            lane.follow(before, self._shared.interests.nothing)
        self.lanes = {}
        self._outlook = self._shared.nowhere
