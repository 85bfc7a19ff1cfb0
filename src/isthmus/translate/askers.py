"""Which proxies asked about which pods, so that a pod's change names the proxies that it concerns."""

from collections.abc import Hashable, Iterable

_MOST = 100_000
"""Subjects remembered; a proxy that invents pods pushes out the oldest, and can take no more memory."""


class Askers:
    """Node ids by subject: a pod's name, or an address at which no pod is known yet."""

    def __init__(self) -> None:
        self._by_subject: dict[Hashable, set[str]] = {}

    def note(self, subject: Hashable, node_id: str) -> None:
        """Remember that this proxy's configuration depends on the subject."""
        self._by_subject.setdefault(subject, set()).add(node_id)
        if len(self._by_subject) > _MOST:
            del self._by_subject[next(iter(self._by_subject))]

    def take(self, subjects: Iterable[Hashable]) -> set[str]:
        """The proxies that asked about any of these. They are forgotten: those that still live ask again."""
        return {node_id for subject in subjects for node_id in self._by_subject.pop(subject, ())}
