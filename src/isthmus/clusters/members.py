"""What the registry knows of each cluster that it watches, and the clients through which they are reached."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from isthmus.clusters.api import Api
from isthmus.clusters.cluster import Cluster
from isthmus.clusters.health import Health, State
from isthmus.clusters.roster import Claim, Rank
from isthmus.clusters.session import Session
from isthmus.clusters.standing import Absence
from isthmus.clusters.store import ClusterStore
from isthmus.model.service import ClusterId


@dataclass(frozen=True, slots=True)
class Restored:
    """A cluster as it was last known; `taken_at` is when that was written, in Unix seconds."""

    store: ClusterStore
    taken_at: float


@dataclass(slots=True)
class Member:
    """A cluster that is watched, and the claim by which it is; None for the control plane's own.

    `refusal` says what is wrong with a newer form of the claim, while the older one stays in use.
    `complete` is the session that read it as a whole; `restored` stands in while none knows as much.
    """

    cluster: Cluster
    rank: Rank
    claim: Claim | None
    refusal: str = ""
    complete: Session | None = None
    restored: Restored | None = None
    absence: Absence = field(default_factory=Absence)

    @property
    def store(self) -> ClusterStore | None:
        """What of it may be served; None while nothing may."""
        if self.restored is not None:
            return self.restored.store
        return None if self.complete is None else self.complete.store

    @property
    def is_current(self) -> bool:
        """Whether it was read as a whole, and is known to be like that now."""
        return self.complete is not None and self.cluster.health.state is State.FRESH

    @property
    def health(self) -> Health:
        """How it is: one served from its last-known state is stale since that was written."""
        health = self.cluster.health
        if self.restored is None:
            return health
        reason = f"served as last known, for it does not answer: {health.reason or 'still reading'}"
        return Health(State.STALE, self.restored.taken_at, reason, health.error)


class Clients(Mapping[ClusterId, Api]):
    """The clusters' API servers by name, the control plane's own among them. Live: look up anew each time.

    A name stands for the credential in force, during a rotation still for the old one; before a cluster was
    read for the first time, for the one that is being tried. There is none for a cluster that is not being
    watched, that is `same` as another, or that is not the one that was meant. That a client is there does not
    say that its server answers.
    """

    def __init__(self, members: Mapping[ClusterId, Member], same: Mapping[ClusterId, ClusterId]) -> None:
        self._members = members
        self._same = same

    def __getitem__(self, name: ClusterId) -> Api:
        api = self._find(name)
        if api is None:
            raise KeyError(name)
        return api

    def __iter__(self) -> Iterator[ClusterId]:
        return (name for name in tuple(self._members) if self._find(name) is not None)

    def _find(self, name: ClusterId) -> Api | None:
        member = self._members.get(name)
        if member is None or name in self._same or member.health.state is State.REFUSED:
            return None
        return member.cluster.api

    def __len__(self) -> int:
        return sum(1 for _ in self)
