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
            mesh = self._store.within(self._root).values()
            own = () if namespace == self._root else self._store.within(namespace).values()
            known = self._known[namespace, id(labels)] = labels, accepted_tls(mesh, own, labels)
        return known[1]

    def takes_tls(self, workload: Workload, port: int) -> bool:
        """Whether a client may use mutual TLS to a port of this workload: it can, and accepts it."""
        if not workload.tls_capable:
            return False
        return self.accepted(workload.key.namespace, workload.labels).on(port) is not Mode.DISABLE

    def concerns(self, ref: Ref, namespace: str) -> bool:
        """Whether an object of that name may matter to workloads of this namespace."""
        return ref.namespace in (self._root, namespace)


_ANYTHING = AcceptedTls()


def accepted_tls(
    mesh: Iterable[PeerAuthentication], own: Iterable[PeerAuthentication], labels: Mapping[str, str]
) -> AcceptedTls:
    """What a workload accepts under the objects of the root namespace and those of its own.

    Where nothing says anything it is PERMISSIVE. Of the root namespace's objects only those without labels
    count, and for a workload there nothing else does (Istio: ComposePeerAuthentication).
    """
    within = tuple(own)
    workload = _oldest(each for each in within if each.labels and each.selects(labels))
    layers = (
        _oldest(each for each in mesh if not each.labels),
        _oldest(each for each in within if not each.labels),
        workload,
    )
    said = [layer.mode for layer in layers if layer is not None and layer.mode is not Mode.UNSET]
    mode = said[-1] if said else Mode.PERMISSIVE
    if workload is None:
        return AcceptedTls(mode)
    ports = ((port, mode if own_mode is Mode.UNSET else own_mode) for port, own_mode in workload.ports)
    return AcceptedTls(mode, tuple(ports))


def _oldest(found: Iterable[PeerAuthentication]) -> PeerAuthentication | None:
    return min(found, key=lambda each: (each.created, each.ref.name), default=None)


def _plain(mode: Mode) -> Mode:
    return Mode.STRICT if mode is Mode.STRICT else Mode.DISABLE
