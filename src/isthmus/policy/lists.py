"""Lists that values are compared with: strings, address ranges, expressions. Pure."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

from isthmus.config.policy import ListKind
from isthmus.policy.expressions import ExpressionRefused, Pattern

MOST_ENTRIES = 100_000
_MOST_REGEXES = 100


class EntryRefused(Exception):  # noqa: N818 - the domain's word
    """An entry that must be corrected: the `index`th; the text says why."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


class Entries(Protocol):
    """What a list compares a value with."""

    def holds(self, value: str) -> bool:
        """Whether the value is on the list."""
        ...


class Strings:
    """Whole strings, case and all."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = frozenset(entries)

    def holds(self, value: str) -> bool:
        """See `Entries`."""
        return value in self._entries


class Ranges:
    """Addresses and ranges (CIDR) of both families: a look-up for each prefix length that occurs.

    What is no address is on no list of addresses; an IPv4 address written as IPv6 is the IPv4 address.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        by_length: dict[tuple[int, int], set[int]] = {}
        for index, entry in enumerate(entries):
            try:
                network = ip_network(entry)
            except ValueError as error:
                raise EntryRefused(index, f"{error}; give CIDRs such as 10.0.0.0/8") from None
            if isinstance(network, IPv6Network) and (old := network.network_address.ipv4_mapped) is not None:
                raise EntryRefused(index, f"write `{entry}` as IPv4: {old}")
            shift = network.max_prefixlen - network.prefixlen
            by_length.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        self._by_length = by_length

    def holds(self, value: str) -> bool:
        """See `Entries`."""
        try:
            address: IPv4Address | IPv6Address = ip_address(value)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        number, version = int(address), address.version
        return any(
            number >> shift in networks
            for (wanted, shift), networks in self._by_length.items()
            if wanted == version
        )


class Regexes:
    """RE2 expressions, each for the whole value."""

    def __init__(self, entries: Sequence[str]) -> None:
        if len(entries) > _MOST_REGEXES:
            raise EntryRefused(_MOST_REGEXES, f"a list may have {_MOST_REGEXES} regular expressions")
        for index, entry in enumerate(entries):
            try:
                Pattern([entry])
            except ExpressionRefused as error:
                raise EntryRefused(index, str(error)) from None
        try:
            self._pattern = Pattern(entries) if entries else None
        except ExpressionRefused as error:
            raise EntryRefused(len(entries) - 1, str(error)) from None

    def holds(self, value: str) -> bool:
        """See `Entries`."""
        return self._pattern is not None and self._pattern.matches(value)


def read_entries(kind: ListKind, entries: Sequence[str]) -> Entries:
    """Entries of that kind, ready to compare. Raises EntryRefused."""
    if len(entries) > MOST_ENTRIES:
        raise EntryRefused(MOST_ENTRIES, f"a list may have {MOST_ENTRIES} entries")
    match kind:
        case ListKind.STRING:
            return Strings(entries)
        case ListKind.CIDR:
            return Ranges(entries)
        case ListKind.REGEX:
            return Regexes(entries)


def read_lines(kind: ListKind, text: str) -> Entries:
    """Entries of a file: one a line; empty lines and `# comments` are none. Raises EntryRefused."""
    lines = (line.strip() for line in text.splitlines())
    return read_entries(kind, [line for line in lines if line and not line.startswith("#")])
