"""How far a Deployment may move at once: the arithmetic of rolling updates. Pure.

The rules are those of the Deployment API: at most `replicas + maxSurge` pods exist, at least
`replicas - maxUnavailable` are available, unless pods fail by themselves.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Generation:
    """One ReplicaSet of a Deployment: pods asked for, and pods that are available."""

    name: str
    replicas: int
    available: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a rollout, in pods."""

    desired: int
    surge: int
    unavailable: int


def read_bounds(desired: int, max_surge: int | str, max_unavailable: int | str) -> Bounds:
    """Resolve percentages: surge rounds up, unavailable down; both zero would never move, so one may go."""
    surge = _share(max_surge, desired, math.ceil)
    unavailable = min(_share(max_unavailable, desired, math.floor), desired)
    return Bounds(desired, surge, 1 if surge == 0 and unavailable == 0 else unavailable)


def _share(value: int | str, whole: int, rounding: Callable[[float], int]) -> int:
    if isinstance(value, int):
        return value
    return rounding(whole * int(value.removesuffix("%")) / 100)


def next_sizes(bounds: Bounds, new: Generation, old: Sequence[Generation]) -> dict[str, int]:
    """Sizes that the ReplicaSets should have now, by name; `old` is oldest first."""
    grown = _grow(bounds, new, old)
    sizes = {grown.name: grown.replicas}
    sizes.update((each.name, each.replicas) for each in _shrink(bounds, grown, old))
    return sizes


def _grow(bounds: Bounds, new: Generation, old: Sequence[Generation]) -> Generation:
    if new.replicas >= bounds.desired:
        return replace(new, replicas=bounds.desired)
    room = bounds.desired + bounds.surge - new.replicas - sum(each.replicas for each in old)
    return replace(new, replicas=min(bounds.desired, new.replicas + max(room, 0)))


def _shrink(bounds: Bounds, new: Generation, old: Sequence[Generation]) -> list[Generation]:
    """First the old pods that serve nobody, then as many of the others as availability allows."""
    floor = bounds.desired - bounds.unavailable
    total = new.replicas + sum(each.replicas for each in old)
    spare = total - floor - (new.replicas - min(new.available, new.replicas))
    healthy: list[Generation] = []
    for each in old:
        cut = max(0, min(spare, each.replicas - each.available))
        healthy.append(replace(each, replicas=each.replicas - cut))
        spare -= cut
    available = min(new.available, new.replicas) + sum(min(each.available, each.replicas) for each in healthy)
    spare = min(spare, available - floor)
    shrunk: list[Generation] = []
    for each in healthy:
        cut = max(0, min(spare, each.replicas))
        shrunk.append(replace(each, replicas=each.replicas - cut))
        spare -= cut
    return shrunk
