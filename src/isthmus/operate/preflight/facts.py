"""What is known of clusters before they are judged. Nothing here has been judged yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Range:
    """A range of addresses, and where that was found."""

    network: Network
    source: str

    def __str__(self) -> str:
        return f"{self.network} ({self.source})"


@dataclass(frozen=True, slots=True)
class Addresses:
    """The ranges of pods or of services, and what is in use of them."""

    ranges: tuple[Range, ...] = ()
    used: frozenset[Address] = frozenset()

    def outside(self) -> list[Address]:
        """What is in use beyond all ranges."""
        return sorted(
            (one for one in self.used if not any(one in each.network for each in self.ranges)),
            key=lambda address: (address.version, int(address)),
        )


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """One cluster. `trouble` is why it could not be asked, and then nothing else is known.

    `skew` is by how many seconds its clock is ahead of this machine's; None where that is not known.
    `missing_rights` are, by tier (and `join`, what adding it takes), what the context's user may not do.
    `unread` are lists that could not be read, with the reason.
    """

    name: str
    server: str
    trouble: str = ""
    version: str = ""
    identity: str = ""
    slices: str = ""
    skew: float | None = None
    pods: Addresses = Addresses()
    services: Addresses = Addresses()
    missing_rights: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reach:
    """A connection that a probe tried, from a pod of one cluster. `error` is "" where it was made.

    `what` is `pod` or `api`.
    """

    source: str
    target: str
    what: str
    address: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Probes:
    """What the probes' pods told. `skipped` is why there were none, `failed` says it by cluster."""

    reached: tuple[Reach, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Helm:
    """The operator's helm; `version` is "" where there is none, and then `trouble` says why."""

    version: str = ""
    trouble: str = ""
