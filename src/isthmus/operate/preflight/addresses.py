"""Whether the clusters' pod and service CIDRs are known, unique and disjoint. Pure."""

from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import Literal

from isthmus.operate.preflight.facts import Address, Addresses, ClusterFacts, Network
from isthmus.operate.preflight.findings import Finding, Level, fine

Use = Literal["pod", "service"]
_WHY = "an address must mean one pod or one service in the whole mesh, or traffic goes to the wrong one"
_REMEDY = (
    "give one of the clusters another CIDR; if a range was read wrongly, say it by --{0}-cidr CLUSTER=CIDR"
)


def check_addresses(clusters: Sequence[ClusterFacts]) -> Iterable[Finding]:
    """Each cluster by itself, then all pairs of them."""
    for one in clusters:
        for use in ("pod", "service"):
            yield from _known(one, use)
        for own, other in product(one.pods.ranges, one.services.ranges):
            if _overlap(own.network, other.network):
                what = f"its pod CIDR {own} and its service CIDR {other} overlap"
                yield Finding("cidr-own", Level.ERROR, what, (one.name,), _WHY, _REMEDY.format("pod"))
    for left, right in combinations(clusters, 2):
        clashes = [*_clashes(left, right)]
        yield from clashes
        if not clashes and all(one.pods.ranges and one.services.ranges for one in (left, right)):
            yield fine("cidr-disjoint", "their pod and service CIDRs are disjoint", left.name, right.name)


def _of(cluster: ClusterFacts, use: Use) -> Addresses:
    return cluster.pods if use == "pod" else cluster.services


def _known(cluster: ClusterFacts, use: Use) -> Iterable[Finding]:
    found = _of(cluster, use)
    flag = f"--{use}-cidr {cluster.name}=CIDR"
    if not found.ranges:
        why = "whether it is unique cannot be told but for the addresses in use"
        yield Finding(
            f"{use}-cidr",
            Level.WARNING,
            f"its {use} CIDR is not known",
            (cluster.name,),
            why,
            f"say it by {flag}",
        )
        return
    yield fine(f"{use}-cidr", f"{use} CIDR {', '.join(map(str, found.ranges))}", cluster.name)
    outside = found.outside()
    if outside:
        what = f"{len(outside)} {use} addresses, such as {outside[0]}, are outside of its {use} CIDR"
        why = "there are more ranges than were found, and they were not compared with other clusters'"
        yield Finding(f"{use}-cidr", Level.WARNING, what, (cluster.name,), why, f"say all of them by {flag}")


def _clashes(left: ClusterFacts, right: ClusterFacts) -> Iterable[Finding]:
    names = (left.name, right.name)
    uses: tuple[Use, ...] = ("pod", "service")
    for one, other in product(uses, uses):
        mine, theirs = _of(left, one), _of(right, other)
        overlaps = [
            (own, their)
            for own, their in product(mine.ranges, theirs.ranges)
            if _overlap(own.network, their.network)
        ]
        remedy = _REMEDY.format(one)
        for own, their in overlaps:
            what = f"{one} CIDR {own} of {left.name} overlaps with {other} CIDR {their} of {right.name}"
            yield Finding("cidr-disjoint", Level.ERROR, what, names, _WHY, remedy)
        if overlaps:
            continue
        shared = _shared(mine, theirs)
        if shared is not None:
            what = f"{shared} is a {one} address of {left.name} and a {other} address of {right.name}"
            yield Finding("cidr-disjoint", Level.ERROR, what, names, _WHY, remedy)


def _shared(left: Addresses, right: Addresses) -> Address | None:
    """An address in use on one side that is in use, or in a range, on the other."""
    both = left.used & right.used
    if both:
        return min(both, key=lambda address: (address.version, int(address)))
    for used, ranges in ((left.used, right.ranges), (right.used, left.ranges)):
        for address in used:
            if any(address in one.network for one in ranges):
                return address
    return None


def _overlap(left: Network, right: Network) -> bool:
    return left.version == right.version and left.overlaps(right)  # pyright: ignore[reportArgumentType]
