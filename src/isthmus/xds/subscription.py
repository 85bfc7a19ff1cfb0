"""One type on one stream, as the xDS protocol has it: what is asked for, what was sent, what the proxy said
of it.

A state machine without I/O, for both forms. It knows no resources: a request comes in, and what it makes due
comes out as names. Rules: xDS protocol, "How the client specifies what resources to return", "Subscribing to
resources", "ACK/NACK and resource type instance version", "Unsubscribing from resources".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from isthmus.model.resources import CLUSTER, LISTENER, NAME_TABLE
from isthmus.xds.due import Batches, Rejected
from isthmus.xds.interest import WILDCARD, Interest, Interests
from isthmus.xds.wire import DeltaRequest

WHOLE_TYPES = frozenset((CLUSTER, LISTENER, NAME_TABLE))
"""Types whose state-of-the-world responses carry all that is subscribed, absence meaning removal; and whose
empty first request asks for everything."""

_MOST_REASON = 4096
"""Characters that are kept of a NACK's reason."""


_NO_VERSIONS: Mapping[str, str] = MappingProxyType({})


class Due(NamedTuple):
    """What a request makes due. `known` are versions that the proxy already holds, by name."""

    everything: bool = False
    names: frozenset[str] = frozenset()
    known: Mapping[str, str] = _NO_VERSIONS


NOTHING = Due()


class Answer(Enum):
    """What a request says of the responses sent so far."""

    NONE = "none"
    ACK = "ack"
    NACK = "nack"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Nack:
    """The last refusal of a type by a proxy."""

    nonce: str
    reason: str


class Subscription:
    """See the module. Mutable; its stream owns it."""

    __slots__ = (
        "_complete",
        "_interests",
        "_named",
        "acked",
        "block",
        "interest",
        "nack",
        "nonce",
        "rejected",
        "sent",
        "sent_at",
        "type_url",
    )

    def __init__(self, type_url: str, interests: Interests) -> None:
        self.type_url = type_url
        self.interest = interests.nothing
        self.nonce = ""
        """Of the last response sent; "" before the first."""
        self.acked = ""
        self.nack: Nack | None = None
        """The last refusal, until something is accepted after it."""
        self.sent: Batches | None = None
        """What the last response was made of, until it is answered."""
        self.sent_at = 0.0
        self._complete = False
        self.rejected: dict[str, Rejected] = {}
        """By name what the proxy refused: not sent again until it changes."""
        self.block: bytes | None = None
        self._interests = interests
        self._named = False

    @property
    def fresh(self) -> bool:
        """Whether no request has come yet."""
        return self.block is None

    def acknowledge(self, names: bytes, nonce: str) -> bool:
        """Whether a state-of-the-world request without an error is an ACK of the last response and nothing
        else, as most are; then it is done with. Otherwise it is for `ask`.
        """
        if self.sent is None or nonce != self.nonce or self.rejected:
            return False
        if names is not self.block and names != self.block:
            return False
        self.sent, self.acked, self.nack = None, nonce, None
        return True

    def ask(self, names: bytes, nonce: str, error: str | None) -> tuple[Answer, Due]:
        """A state-of-the-world request. Raises ProtocolError for names that cannot be decoded.

        A request with another nonce than that of the last response is stale and changes nothing: the proxy
        repeats its names with its next one. Without a nonce it answers nothing and begins anew: all of its
        names are due (Istio: ShouldRespond).
        """
        if nonce and self.nonce and nonce != self.nonce:
            return Answer.STALE, NOTHING
        answer, again = self._settle(nonce, error)
        if nonce and (names is self.block or names == self.block):
            return answer, Due(names=again) if again else NOTHING
        self.block = names
        before = self.interest if nonce else self._interests.nothing
        self.interest = self._wanted(names)
        everything = self.interest.wildcard and not before.wildcard
        added = self.interest.names - before.names if before.names else self.interest.names
        due = added | (again & self.interest.names) if again else added
        return answer, Due(everything, due) if everything or due else NOTHING

    def _wanted(self, names: bytes) -> Interest:
        if names:
            self._named = True
            return self._interests.of_block(names)
        legacy = self.type_url in WHOLE_TYPES and not self._named
        return self._interests.everything if legacy else self._interests.nothing

    def ask_delta(self, request: DeltaRequest) -> tuple[Answer, Due]:
        """An incremental request. Subscriptions count whatever the nonce.

        A name subscribed again is due again; one that is unsubscribed but still covered by the wildcard is
        due too, for the proxy has forgotten it.
        """
        answer, again = self._settle(request.nonce, request.error)
        first = self.fresh
        if not first and not request.subscribe and not request.unsubscribe:
            return answer, Due(names=again) if again else NOTHING
        self.block = b""
        plus, minus = _without_wildcard(request.subscribe), _without_wildcard(request.unsubscribe)
        before = self.interest
        wildcard = before.wildcard or WILDCARD in request.subscribe
        if first and not request.subscribe and self.type_url in WHOLE_TYPES:
            wildcard = True
        if WILDCARD in request.unsubscribe:
            wildcard = False
        names = before.names | plus if before.names else plus
        due = plus
        if minus:
            names, due = names - minus, due - minus
        self.interest = self._interests.of(names, wildcard=wildcard)
        everything = wildcard and (first or WILDCARD in request.subscribe)
        if again:
            due |= frozenset(name for name in again if name in self.interest)
        if wildcard:
            due |= minus & before.names
        if self.rejected:
            for name in self.rejected.keys() & plus:
                del self.rejected[name]
        if not everything and not due:
            return answer, NOTHING
        return answer, Due(everything, due, request.known) if first else Due(everything, due)

    def record(self, nonce: str, batches: Batches, now: float, *, complete: bool) -> None:
        """A response was taken, at `now` on the hub's clock. `complete`: it carried all that is subscribed
        to.
        """
        self.nonce, self.sent, self.sent_at, self._complete = nonce, batches, now, complete

    def _settle(self, nonce: str, error: str | None) -> tuple[Answer, frozenset[str]]:
        """What a request says of the last response, and which of its names are to be sent again.

        A proxy refuses a response as a whole. Envoy's reason names the resources at fault, and those after
        them may not have been applied: they are sent once more, without what was blamed. A complete response
        needs none of that, for Envoy applies the rest of it (cds_api, lds_api).
        """
        sent = self.sent
        if not nonce:
            return Answer.NONE, frozenset()
        if nonce != self.nonce or sent is None:
            known = nonce == self.nonce or not self.nonce
            return (Answer.NONE if known else Answer.STALE), frozenset()
        self.sent = None
        if error is None:
            self.acked, self.nack = nonce, None
            if self._complete:
                self.rejected.clear()
            elif self.rejected:
                for name in _rejected(sent):
                    self.rejected.pop(name, None)
            return Answer.ACK, frozenset()
        self.nack = Nack(nonce, error[:_MOST_REASON])
        every = _rejected(sent)
        blamed = {name: one for name, one in every.items() if name in error} or every
        self.rejected.update(blamed)
        return Answer.NACK, frozenset() if self._complete else frozenset(every.keys() - blamed.keys())


def _without_wildcard(names: frozenset[str]) -> frozenset[str]:
    """The same object where there is none: large sets know their hash."""
    return names - {WILDCARD} if WILDCARD in names else names


def _rejected(sent: Batches) -> dict[str, Rejected]:
    return {
        one.resource.name: Rejected(one.resource.version, batch.held.get(one.resource.name))
        for batch in sent
        for one in batch.settle().changed
    }
