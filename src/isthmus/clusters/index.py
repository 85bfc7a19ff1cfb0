"""A many-to-many index in which a key with one member costs one dictionary entry: every pod has such keys."""

from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Hashable)


class Index(Generic[K, V]):
    """Members by key. Keys without members are forgotten."""

    def __init__(self) -> None:
        self._one: dict[K, V] = {}
        self._many: dict[K, set[V]] = {}

    def __getitem__(self, key: K) -> Collection[V]:
        """The members of a key, in no order; none for a key never seen."""
        if key in self._one:
            return (self._one[key],)
        return self._many.get(key, ())

    def add(self, key: K, member: V) -> None:
        """Add a member; adding it again changes nothing."""
        many = self._many.get(key)
        if many is not None:
            many.add(member)
        elif self._one.setdefault(key, member) != member:
            self._many[key] = {self._one.pop(key), member}

    def discard(self, key: K, member: V) -> None:
        """Take a member away; one that is not there changes nothing."""
        many = self._many.get(key)
        if many is not None:
            many.discard(member)
            if len(many) == 1:
                self._one[key] = many.pop()
                del self._many[key]
        elif self._one.get(key) == member:
            del self._one[key]
