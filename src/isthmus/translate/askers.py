"""Which proxies asked about which pods, so that a pod's change names the proxies that it concerns."""

from collections.abc import Collection, Hashable, Iterable


class Askers:
    """Node ids by subject. Past `most` subjects the oldest is dropped; None: something else bounds them."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._by_subject: dict[Hashable, set[str]] = {}

    def note(self, subject: Hashable, node_id: str) -> None:
        """Remember that this proxy's configuration depends on the subject."""
        self._by_subject.setdefault(subject, set()).add(node_id)
        if self._most is not None and len(self._by_subject) > self._most:
            del self._by_subject[next(iter(self._by_subject))]

    def subjects(self) -> Collection[Hashable]:
        """Everything that somebody asked about."""
        return self._by_subject.keys()

    def take(self, subjects: Iterable[Hashable]) -> set[str]:
        """The proxies that asked about any of these. They are forgotten: those that still live ask again."""
        return {node_id for subject in subjects for node_id in self._by_subject.pop(subject, ())}
