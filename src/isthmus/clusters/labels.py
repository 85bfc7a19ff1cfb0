"""Label mappings, one object per distinct content: pods of one ReplicaSet share theirs, in all clusters.

Refuses to be changed: a mapping here never differs from what it was made of.
"""

from collections.abc import Mapping
from typing import Final
from weakref import WeakValueDictionary


class Labels(dict[str, str]):
    """A frozen mapping that can be a key itself; made by `shared_labels` only."""

    __slots__ = ("__weakref__", "_hash")

    def __init__(self, items: frozenset[tuple[str, str]]) -> None:
        super().__init__(items)
        self._hash: Final = hash(items)

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]  (a dict says None)
        return self._hash


_living: WeakValueDictionary[frozenset[tuple[str, str]], Labels] = WeakValueDictionary()


def shared_labels(labels: Mapping[str, str]) -> Labels:
    """The one living `Labels` with this content, made where there is none."""
    items = frozenset(labels.items())
    shared = _living.get(items)
    if shared is None:
        shared = _living[items] = Labels(items)
    return shared


def selects(selector: Labels, labels: Mapping[str, str]) -> bool:
    """Whether an equality selector matches; an empty one selects nothing (Kubernetes: ServiceSpec)."""
    return bool(selector) and selector.items() <= labels.items()
