"""What each workload accepts: PeerAuthentications merged as Istio merges them. Pure.

Mesh, namespace, workload, port: the narrowest that says something holds, and of equals the oldest.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from isthmus.config.peer_authentication import PEER_AUTHENTICATION, Mode, PeerAuthentication
from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref
from isthmus.model.workload import Workload

_MOST_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class AcceptedTls:
    """What one workload accepts: `mode`, and otherwise on single ports of it. Nowhere UNSET."""

    mode: Mode = Mode.PERMISSIVE
    ports: tuple[tuple[int, Mode], ...] = ()

    def on(self, port: int) -> Mode:
        """What it accepts on one of its ports."""
        return next((mode for number, mode in self.ports if number == port), self.mode)

    def without_certificate(self) -> "AcceptedTls":
        """The same for a workload that cannot speak TLS: plain text, or where that is refused, nothing."""
        return AcceptedTls(_plain(self.mode), tuple((port, _plain(mode)) for port, mode in self.ports))


@dataclass(frozen=True, slots=True)
class Applying:
    """The objects that concern one workload, None at the levels that have none."""

    mesh: PeerAuthentication | None
    namespace: PeerAuthentication | None
    workload: PeerAuthentication | None

    @property
    def deciding(self) -> PeerAuthentication | None:
        """The narrowest that says something about all ports, None where nothing does."""
        layers = (self.workload, self.namespace, self.mesh)
        return next((one for one in layers if one is not None and one.mode is not Mode.UNSET), None)

    @property
    def accepted(self) -> AcceptedTls:
        """What the workload accepts by them; PERMISSIVE where nothing says anything."""
        mode = self.deciding.mode if self.deciding else Mode.PERMISSIVE
        own = self.workload.ports if self.workload else ()
        return AcceptedTls(mode, tuple((port, mode if one is Mode.UNSET else one) for port, one in own))


class PeerAuthentications:
    """All of them: what each workload accepts. A store of its own, empty, where none is given."""

    def __init__(self, root_namespace: str, store: ConfigStore[PeerAuthentication] | None = None) -> None:
        self._root = root_namespace
        self._store = store or ConfigStore(PEER_AUTHENTICATION)
        self._known: dict[tuple[str, int], tuple[Mapping[str, str], AcceptedTls]] = {}
        self._known_as_of = 0

    def accepted(self, namespace: str, labels: Mapping[str, str]) -> AcceptedTls:
        """What a workload with these labels accepts. `labels` must not change any more.

        It is asked for every endpoint, while pods of one template have one labels object: so answers are
        remembered by that object, which is kept to keep its id its own.
        """
        if self._store.empty:
            return _ANYTHING
        if self._store.changes != self._known_as_of or len(self._known) >= _MOST_KNOWN:
            self._known.clear()
            self._known_as_of = self._store.changes
        known = self._known.get((namespace, id(labels)))
        if known is None:
            known = self._known[namespace, id(labels)] = labels, self.applying(namespace, labels).accepted
        return known[1]

    def applying(self, namespace: str, labels: Mapping[str, str]) -> Applying:
        """The objects by which that is so."""
        mesh = self._store.within(self._root).values()
        own = () if namespace == self._root else self._store.within(namespace).values()
        return applying(mesh, own, labels)

    def idle(self, namespace: str | None = None) -> dict[Ref, str]:
        """The objects in force, of that namespace or of all, that concern no workload, and why not."""
        objects = self._store.all()
        if namespace is not None:
            objects = {Ref(namespace, name): one for name, one in self._store.within(namespace).items()}
        oldest: dict[object, PeerAuthentication] = {}
        for one in sorted(objects.values(), key=_age):
            oldest.setdefault((one.ref.namespace, one.labels), one)
        found: dict[Ref, str] = {}
        for ref, one in objects.items():
            first = oldest[ref.namespace, one.labels]
            if ref.namespace == self._root and one.labels:
                found[ref] = "objects of the root namespace are for the whole mesh; leave out the selector"
            elif first is not one:
                found[ref] = f"{first.ref} is older and for the same workloads; delete one of them"
        return found

    def takes_tls(self, workload: Workload, port: int) -> bool:
        """Whether a client may use mutual TLS to a port of this workload: it can, and accepts it."""
        if not workload.tls_capable:
            return False
        return self.accepted(workload.key.namespace, workload.labels).on(port) is not Mode.DISABLE

    def concerns(self, ref: Ref, namespace: str) -> bool:
        """Whether an object of that name may matter to workloads of this namespace."""
        return ref.namespace in (self._root, namespace)


_ANYTHING = AcceptedTls()


def applying(
    mesh: Iterable[PeerAuthentication], own: Iterable[PeerAuthentication], labels: Mapping[str, str]
) -> Applying:
    """What concerns a workload of the objects of the root namespace and those of its own.

    Of the root namespace's objects only those without labels count, and for a workload there nothing else
    does (Istio: ComposePeerAuthentication).
    """
    within = tuple(own)
    return Applying(
        _oldest(each for each in mesh if not each.labels),
        _oldest(each for each in within if not each.labels),
        _oldest(each for each in within if each.labels and each.selects(labels)),
    )


def _oldest(found: Iterable[PeerAuthentication]) -> PeerAuthentication | None:
    return min(found, key=_age, default=None)


def _age(one: PeerAuthentication) -> tuple[str, str]:
    return one.created, one.ref.name


def _plain(mode: Mode) -> Mode:
    return Mode.STRICT if mode is Mode.STRICT else Mode.DISABLE
