"""One type of one stream: its subscription, what is due to it, and where its resources are."""

from collections.abc import Mapping, Sequence

from isthmus.model.resources import Resource
from isthmus.xds.due import Batches, merge, only, without
from isthmus.xds.interest import Interest
from isthmus.xds.shelf import Batch, Fragment, Shelf
from isthmus.xds.shelves import Outlook
from isthmus.xds.subscription import Subscription
from isthmus.xds.transport import Wire

PATIENCE = 10.0
"""Seconds that a response may go unanswered before the next one of its type is sent."""


class Lane:
    """Owned by its session. `due` is put on top of by whoever publishes a change."""

    __slots__ = ("due", "later", "shelves", "subscription", "wire")

    def __init__(self, wire: Wire, subscription: Subscription, outlook: "Outlook[Lane]") -> None:
        self.wire = wire
        self.subscription = subscription
        self.shelves: Sequence[Shelf[Lane]] = outlook.shelves(subscription.type_url)
        """Where resources of its type are."""
        self.due: Batches = ()
        self.later: list[Batch] = []
        """What is due one by one after that, the next at the end."""

    def waits(self, now: float) -> bool:
        """Whether a response is on the way that may still be answered."""
        return self.subscription.sent is not None and now - self.subscription.sent_at < PATIENCE

    def follow(self, before: Interest, nothing: Interest) -> None:
        """Follow the present interest in place of the one before."""
        now = self.subscription.interest
        if self.due:
            self.due = tuple(one for batch in self.due if (one := only(batch, now)).held)
        if self.later:
            self.later = [one for batch in self.later if (one := only(batch, now)).held]
        for shelf in self.shelves:
            if now is not nothing:
                shelf.follow(now, self)
            if before is not nothing:
                shelf.leave(before, self)

    def move(self, after: "Outlook[Lane]", nothing: Interest) -> None:
        """See another outlook; what differs becomes due."""
        interest, before = self.subscription.interest, self.shelves
        self.shelves = after.shelves(self.subscription.type_url)
        if interest is nothing:
            return
        left = [shelf for shelf in before if shelf not in self.shelves]
        held, unsure = self._abandon(left, interest)
        known = {name: one.resource.version for name, one in held.items() if name not in unsure}
        here: set[str] = set()
        for shelf in self.shelves:
            if shelf not in before:
                shelf.follow(interest, self)
                batch = shelf.everything() if interest.wildcard else shelf.find(interest.names)[0]
                here |= batch.held.keys()
                self.due = merge(self.due, without(batch, known))
        gone = {name: held.get(name) for name in sorted(held.keys() | unsure) if name not in here}
        if gone:
            self.due = merge(self.due, Batch.removing(gone))

    def _abandon(
        self, shelves: "Sequence[Shelf[Lane]]", interest: Interest
    ) -> tuple[Mapping[str, Fragment], set[str]]:
        """Leave shelves. What the proxy holds of them, and the names of which that is not certain."""
        held = {name: one for shelf in shelves for name, one in shelf.held(interest).items()}
        unsure = {name for batch in (*self.due, *self.later) if batch.shelf in shelves for name in batch.held}
        self.due = tuple(batch for batch in self.due if batch.shelf not in shelves)
        self.later = [batch for batch in self.later if batch.shelf not in shelves]
        for shelf in shelves:
            shelf.leave(interest, self)
        return held, unsure

    def held(self) -> dict[str, Resource]:
        """What the proxy holds: what was sent and is not refused, by name."""
        holds: dict[str, Fragment | None] = {}
        for shelf in self.shelves:
            holds |= shelf.held(self.subscription.interest)
        for batch in (*self.due, *self.later):
            holds |= batch.held
        for name, refused in self.subscription.rejected.items():
            holds[name] = refused.held
        return {name: one.resource for name, one in sorted(holds.items()) if one is not None}
