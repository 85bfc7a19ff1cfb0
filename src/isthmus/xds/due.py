"""What is due to a stream of one type, as a tuple of batches: put together, looked through, and cut down."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.xds.interest import Interest
from isthmus.xds.shelf import Batch, Fragment, Settled, Shelf

_PAGE = 256 * 1024
Batches = tuple[Batch, ...]
"""At most one a shelf, and at most one of names that are gone from a shelf that is no longer followed."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A resource that a proxy refused, by version, and what it held of that name before."""

    version: str
    held: Fragment | None


def merge(due: Batches, batch: Batch) -> Batches:
    """`batch` on top of what is due already. What it names is not simply gone any more."""
    merged: list[Batch] = []
    for one in due:
        if one.shelf is batch.shelf:
            batch = one.merged(batch)
        elif one.shelf is None:
            left = {name: held for name, held in one.held.items() if name not in batch.held}
            if left:
                merged.append(Batch.removing(left))
        else:
            merged.append(one)
    return (*merged, batch)


def locate(shelves: Iterable[Shelf[Any]], names: frozenset[str]) -> tuple[list[Batch], frozenset[str]]:
    """Batches of those `names` that exist, each in the one shelf that has it, and the names that do not
    exist.
    """
    found: list[Batch] = []
    for shelf in shelves:
        if not names:
            break
        batch, names = shelf.find(names)
        if batch.held:
            found.append(batch)
    return found, names


def changes(batches: Batches) -> bool:
    """Whether any of them has a resource to send."""
    for batch in batches:  # noqa: SIM110 (it runs for every stream of a push, and any() takes thrice as long)
        if batch.settle().changed:
            return True
    return False


def removes(batches: Batches) -> bool:
    """Whether any of them has a name that is gone."""
    for batch in batches:  # noqa: SIM110 (as above)
        if batch.settle().gone:
            return True
    return False


def known_since(batches: Batches) -> float:
    """When the first of the changes in them was known, 0 where all was asked for."""
    first = 0.0
    for batch in batches:
        if batch.since and (not first or batch.since < first):
            first = batch.since
    return first


def names_of(batches: Batches) -> frozenset[str]:
    """The names of the resources that they send."""
    return frozenset(one.resource.name for batch in batches for one in batch.settle().changed)


def only(batch: Batch, interest: Interest) -> Batch:
    """The batch without names that are not wanted any more."""
    held = {name: one for name, one in batch.held.items() if name in interest}
    if len(held) == len(batch.held):
        return batch
    return Batch.removing(held) if batch.shelf is None else Batch(batch.shelf, held)


def without(batch: Batch, known: Mapping[str, str], afresh: frozenset[str] = frozenset()) -> Batch:
    """The batch without what the proxy holds already in that version, unless it is named in `afresh`."""
    changed = batch.settle().changed
    left = tuple(
        one
        for one in changed
        if one.resource.name in afresh or known.get(one.resource.name) != one.resource.version
    )
    if len(left) == len(changed):
        return batch
    return Batch(batch.shelf, dict.fromkeys(_named(left)), Settled(left, {}))


def pages(batches: Batches) -> list[Batch]:
    """The same as several, each with resources of `_PAGE` bytes or with one; what is gone comes last.

    They are read anew when they are taken, so what changes meanwhile is not told as it was.
    """
    found: list[Batch] = []
    for batch in batches:
        names: list[str] = []
        size = 0
        for one in batch.settle().changed:
            size += len(one.resource.body)
            if names and size > _PAGE:
                found.append(Batch(batch.shelf, dict.fromkeys(names)))
                names, size = [], len(one.resource.body)
            names.append(one.resource.name)
        if names:
            found.append(Batch(batch.shelf, dict.fromkeys(names)))
    gone = {name: held for batch in batches for name, held in batch.settle().gone.items()}
    return [*found, Batch.removing(gone)] if gone else found


def without_rejected(batch: Batch, rejected: Mapping[str, Rejected]) -> Batch:
    """The batch without what the proxy refused in that very version."""
    now = batch.settle()
    left = tuple(
        one
        for one in now.changed
        if (refused := rejected.get(one.resource.name)) is None or refused.version != one.resource.version
    )
    if len(left) == len(now.changed):
        return batch
    return Batch(batch.shelf, {name: batch.held.get(name) for name in _named(left)}, Settled(left, now.gone))


def _named(fragments: Iterable[Fragment]) -> Iterable[str]:
    return (one.resource.name for one in fragments)


def still_there(due: Batches, content: Batches) -> tuple[Fragment, ...]:
    """Resources whose removal is due, as they were sent last."""
    return tuple(
        one
        for batch in due
        for name, one in batch.held.items()
        if one is not None and not any(name in batch.held for batch in content)
    )
