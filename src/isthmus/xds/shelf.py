"""One type of one scope as streams see it: who follows it, and the parts of messages made of it once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from isthmus.model.resources import Resource, Scope
from isthmus.xds.interest import Holders, Interest
from isthmus.xds.wire import delta_resource_prefix, resource_prefix

F = TypeVar("F")


class Form(Enum):
    """The two forms of xDS."""

    WHOLE = "sotw"
    DELTA = "delta"


class Fragment:
    """A resource with the bytes that precede its body in either form's response, made when they are needed.
    Equality is identity.
    """

    __slots__ = ("_delta_prefix", "_whole_prefix", "resource")

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self._whole_prefix = b""
        self._delta_prefix = b""

    def prefix(self, form: Form) -> bytes:
        """What precedes the body."""
        if form is Form.WHOLE:
            self._whole_prefix = self._whole_prefix or resource_prefix(self.resource)
            return self._whole_prefix
        self._delta_prefix = self._delta_prefix or delta_resource_prefix(self.resource)
        return self._delta_prefix


def pieces(fragments: Iterable[Fragment], form: Form) -> Iterator[bytes]:
    """The `resources` fields of a response, to be joined."""
    for fragment in fragments:
        yield fragment.prefix(form)
        yield fragment.resource.body


@dataclass(frozen=True, slots=True)
class Settled:
    """What a batch comes to now. `gone` maps names that do not exist to what was last sent under them."""

    changed: tuple[Fragment, ...]
    gone: Mapping[str, Fragment | None]


class Batch:
    """Names of one shelf that are due, with what streams hold under them until then. Shared, and never
    altered.

    It is read from the scope when the first stream takes it, so a burst derives a resource once. None as what
    is held means that the resource is due even if it is the same: asked for anew, or needed again by a
    cluster that warms.
    """

    __slots__ = ("_joined", "_settled", "_split", "held", "shelf", "since")

    def __init__(
        self,
        shelf: "Shelf[Any] | None",
        held: Mapping[str, Fragment | None],
        settled: Settled | None = None,
        since: float = 0.0,
    ) -> None:
        self.shelf = shelf
        self.since = since
        """When the first change in it was known, on the hub's clock; 0 for what was asked for."""
        self.held = held
        self._settled = settled
        self._joined: dict[Form, bytes] = {}
        self._split: tuple[Batch, Batch] | None = None

    @classmethod
    def of(cls, shelf: "Shelf[Any]", fragments: tuple[Fragment, ...]) -> "Batch":
        """A batch that sends exactly these."""
        names: dict[str, Fragment | None] = {one.resource.name: None for one in fragments}
        return cls(shelf, names, Settled(fragments, {}))

    @classmethod
    def removing(cls, gone: Mapping[str, Fragment | None]) -> "Batch":
        """A batch that says only that these names do not exist."""
        return cls(None, gone, Settled((), gone))

    def settle(self) -> Settled:
        """Read the resources; what turns out to be what is held is left out."""
        if self._settled is None:
            assert self.shelf is not None
            changed: list[Fragment] = []
            gone: dict[str, Fragment | None] = {}
            for name, before in self.held.items():
                now = self.shelf.read(name)
                if now is None:
                    gone[name] = before
                elif before is None or before.resource.version != now.resource.version:
                    changed.append(now)
            self._settled = Settled(tuple(changed), gone)
        return self._settled

    def joined(self, form: Form) -> bytes:
        """The `resources` fields of what changed, as one piece that is remembered."""
        found = self._joined.get(form)
        if found is None:
            found = self._joined[form] = b"".join(pieces(self.settle().changed, form))
        return found

    def merged(self, later: "Batch") -> "Batch":
        """Both batches of one shelf; what was held before the first counts."""
        held = {**later.held, **self.held}
        since = self.since or later.since
        return Batch(self.shelf, held, Settled((), held) if self.shelf is None else None, since)

    def split(self) -> "tuple[Batch, Batch]":
        """What changed and what is gone, as two batches."""
        if self._split is None:
            now = self.settle()
            held = {one.resource.name: self.held.get(one.resource.name) for one in now.changed}
            self._split = Batch(self.shelf, held, Settled(now.changed, {})), Batch.removing(now.gone)
        return self._split


class Shelf(Generic[F]):
    """The resources of one type in one scope, and their followers by interest.

    `F` is whoever follows.
    """

    def __init__(self, scope: Scope, type_url: str, holders: Holders) -> None:
        self.scope = scope
        self.type_url = type_url
        self._holders = holders
        self._followers: dict[Interest, dict[F, None]] = {}
        self._wild: dict[Interest, None] = {}
        self._held: dict[str, Fragment] = {}
        self._found: dict[frozenset[str], tuple[Batch, frozenset[str]]] = {}
        self._everything: Batch | None = None
        self.followers = 0

    def follow(self, interest: Interest, follower: F) -> None:
        """Tell `follower` of changes to what it is interested in."""
        group = self._followers.get(interest)
        if group is None:
            group = self._followers[interest] = {}
            self._holders.use(interest)
            if interest.wildcard:
                self._wild[interest] = None
        group[follower] = None
        self.followers += 1

    def leave(self, interest: Interest, follower: F) -> None:
        """Undo `follow`. What nobody follows is not kept in step, so it is forgotten."""
        group = self._followers[interest]
        del group[follower]
        self.followers -= 1
        if not group:
            del self._followers[interest]
            self._holders.release(interest)
            self._wild.pop(interest, None)
        if not self._followers:
            self._everything = None
            self._found.clear()
            self._held.clear()

    def read(self, name: str) -> Fragment | None:
        """The named resource as it is now."""
        resource = self.scope.get(self.type_url, name)
        if resource is None:
            self._held.pop(name, None)
            return None
        return self._fragment(resource)

    def _fragment(self, resource: Resource) -> Fragment:
        held = self._held.get(resource.name)
        if held is None or held.resource is not resource:
            held = self._held[resource.name] = Fragment(resource)
        return held

    def preparing(self) -> Iterator[None]:
        """Make the parts of messages, one at each step, before anybody follows."""
        for resource in self.scope.all(self.type_url):
            self._fragment(resource).prefix(Form.WHOLE)
            yield

    def everything(self) -> Batch:
        """All resources, the same batch until something changes."""
        if self._everything is None:
            fragments = tuple(self._fragment(one) for one in self.scope.all(self.type_url))
            self._everything = Batch.of(self, fragments)
        return self._everything

    def find(self, names: frozenset[str]) -> tuple[Batch, frozenset[str]]:
        """Those of `names` that exist, the same batch until something changes, and the names that do not."""
        found = self._found.get(names)
        if found is None:
            here = tuple(one for name in sorted(names) if (one := self.read(name)) is not None)
            missing = names - {one.resource.name for one in here}
            found = Batch.of(self, here), missing
            if len(self._found) >= 16:
                self._found.clear()
            self._found[names] = found
        return found

    def changed(self, names: frozenset[str], since: float) -> Iterator[tuple[Batch, Iterable[F]]]:
        """Forget what was known of `names`, and say whom that concerns: a batch, shared, and its
        followers.
        """
        self._everything = None
        self._found.clear()
        held = {name: self._held.pop(name, None) for name in sorted(names)}
        common = Batch(self, held, since=since)
        for interest in self._concerned(names):
            picked = interest.among(names)
            if picked is names:
                yield common, self._followers[interest]
            elif picked:
                some = {name: held[name] for name in sorted(picked)}
                yield Batch(self, some, since=since), self._followers[interest]

    def held(self, interest: Interest) -> dict[str, Fragment]:
        """What followers of this interest were last sent, but for names in a batch that is still due."""
        if interest.wildcard:
            return dict(self._held)
        return {name: one for name in interest.names if (one := self._held.get(name)) is not None}

    def _concerned(self, names: frozenset[str]) -> list[Interest]:
        """Interests to look at: through the names or through this shelf's own, whichever are fewer."""
        if self._holders.count(names) < len(self._followers):
            holding = [one for one in self._holders.holding(names) if one in self._followers]
            return [*holding, *(one for one in self._wild if one not in holding)]
        return list(self._followers)
