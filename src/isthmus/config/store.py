"""The objects of one kind of the mesh's configuration: of each the latest good version, and what was refused.

A version that is refused changes nothing: the last good one of its object stays in force. It does no I/O;
`watching` keeps it as an API server has it.
"""

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from isthmus.config.errors import ConfigRefused
from isthmus.kube.decoding import Ref
from isthmus.kube.kinds import Kind

T = TypeVar("T")
_NONE: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ConfigKind(Generic[T]):
    """A kind of configuration: where it is kept, and how one object of it is read.

    `read` raises ConfigRefused, naming the field.
    """

    source: Kind[dict[str, Any]]
    read: Callable[[Mapping[str, Any]], T]


class ConfigStore(Generic[T]):
    """One kind's objects. Listeners are told of each change by name, and read the new state here."""

    def __init__(self, kind: ConfigKind[T]) -> None:
        self.kind = kind
        self.rejected: dict[Ref, ConfigRefused] = {}
        """Why the latest version of an object is not in force, while it is not."""
        self.objects: dict[Ref, Mapping[str, Any]] = {}
        """As the API server has them: the version in force, or the latest where none ever was."""
        self.events: Counter[str] = Counter()
        """What came, in istiod's words (`pilot_k8s_cfg_events`): add, update, delete."""
        self.changes = 0
        """How often something in force changed: whoever derives from it knows by this when to do so anew."""
        self._by_namespace: dict[str, dict[str, T]] = {}
        self._listeners: list[Callable[[Ref], None]] = []

    @property
    def empty(self) -> bool:
        """Whether no object is in force."""
        return not self._by_namespace

    def get(self, ref: Ref) -> T | None:
        """The object in force under that name."""
        return self.within(ref.namespace).get(ref.name)

    def within(self, namespace: str) -> Mapping[str, T]:
        """A namespace's objects in force, by name; live, so copy it before you wait."""
        return self._by_namespace.get(namespace, _NONE)

    def all(self) -> dict[Ref, T]:
        """Every object in force."""
        return {
            Ref(namespace, name): found
            for namespace, objects in self._by_namespace.items()
            for name, found in objects.items()
        }

    def apply(self, ref: Ref, found: Mapping[str, Any]) -> ConfigRefused | None:
        """Take a new version of an object, as the API server has it; why it is refused, if it is."""
        known = ref in self.rejected or self.get(ref) is not None
        self.events["update" if known else "add"] += 1
        try:
            read = self.kind.read(found)
        except ConfigRefused as refusal:
            self.rejected[ref] = refusal
            if self.get(ref) is None:
                self.objects[ref] = found
            return refusal
        self.rejected.pop(ref, None)
        self.objects[ref] = found
        if self.get(ref) != read:
            self._by_namespace.setdefault(ref.namespace, {})[ref.name] = read
            self._tell(ref)
        return None

    def remove(self, ref: Ref) -> None:
        """The object is gone."""
        self.events["delete"] += 1
        self.rejected.pop(ref, None)
        self.objects.pop(ref, None)
        objects = self._by_namespace.get(ref.namespace, {})
        if ref.name in objects:
            del objects[ref.name]
            if not objects:
                del self._by_namespace[ref.namespace]
            self._tell(ref)

    @contextmanager
    def subscribe(self, listener: Callable[[Ref], None]) -> Generator[None]:
        """Call `listener` at once with the name of each object that changes, until the block ends."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def _tell(self, ref: Ref) -> None:
        self.changes += 1
        for listener in tuple(self._listeners):
            listener(ref)
