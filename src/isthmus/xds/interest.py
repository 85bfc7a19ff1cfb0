"""What a stream asks for of one type, one object per distinct set: 1,000 proxies with the same 500 names cost
one.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from weakref import WeakValueDictionary

from isthmus.xds.errors import ProtocolError
from isthmus.xds.wire import names_of

WILDCARD = "*"
_MOST_NAMES = 100_000
_MOST_BLOCKS = 4096
"""Raw spellings remembered: proxies may order the same names differently."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Interest:
    """Names, and whether everything is wanted besides. Interned: equal interests are identical."""

    names: frozenset[str]
    wildcard: bool

    def __contains__(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def among(self, names: frozenset[str]) -> frozenset[str]:
        """Which of these names are wanted; the same object when all are."""
        if self.wildcard or names <= self.names:
            return names
        return names & self.names


class Interests:
    """Every interest in use, and which of them hold a given name."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[frozenset[str], bool], Interest] = WeakValueDictionary()
        self._blocks: WeakValueDictionary[bytes, Interest] = WeakValueDictionary()
        self.recent: deque[bytes] = deque(maxlen=8)
        """The blocks that were spelled last by anyone: streams that connect after it tend to repeat them."""
        self.nothing = self.of(frozenset())
        self.everything = self.of(frozenset(), wildcard=True)

    def of(self, names: Iterable[str], *, wildcard: bool = False) -> Interest:
        """The one interest in these names; `*` among them is the wildcard. Raises ProtocolError for too
        many.
        """
        wanted = frozenset(names)
        if len(wanted) > _MOST_NAMES:
            raise ProtocolError(f"{len(wanted)} names are subscribed to, more than {_MOST_NAMES}")
        if WILDCARD in wanted:
            wanted, wildcard = wanted - {WILDCARD}, True
        key = (wanted, wildcard)
        interest = self._known.get(key)
        if interest is None:
            interest = self._known[key] = Interest(wanted, wildcard)
        return interest

    def of_block(self, block: bytes) -> Interest:
        """The interest that a raw block of `resource_names` spells. Raises ProtocolError."""
        if not block:
            return self.nothing
        interest = self._blocks.get(block)
        if interest is None:
            if len(self._blocks) >= _MOST_BLOCKS:
                self._blocks.clear()
            interest = self._blocks[block] = self.of(names_of(block))
            self.recent.append(block)
        return interest


class Holders:
    """Which interests hold a name, for a change to find those whom it concerns without visiting the
    others.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, dict[Interest, None]] = {}
        self._uses: dict[Interest, int] = {}

    def use(self, interest: Interest) -> None:
        """Somebody follows this interest (counted)."""
        uses = self._uses.get(interest, 0)
        self._uses[interest] = uses + 1
        if not uses:
            for name in interest.names:
                self._by_name.setdefault(name, {})[interest] = None

    def release(self, interest: Interest) -> None:
        """Undo one `use`."""
        self._uses[interest] -= 1
        if self._uses[interest]:
            return
        del self._uses[interest]
        for name in interest.names:
            holders = self._by_name[name]
            del holders[interest]
            if not holders:
                del self._by_name[name]

    def count(self, names: Iterable[str]) -> int:
        """How many interests `holding` would visit."""
        return sum(len(self._by_name.get(name, ())) for name in names)

    def holding(self, names: Iterable[str]) -> Iterator[Interest]:
        """Interests that name at least one of these; each once. Wildcards are not among them."""
        seen: dict[Interest, None] = {}
        for name in names:
            seen.update(self._by_name.get(name, {}))
        return iter(seen)
