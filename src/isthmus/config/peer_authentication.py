"""The kind PeerAuthentication (security.istio.io/v1): its types, its CRD's source, which mode holds where.

Rules are those of Istio's webhook and of its CRD's CEL, so that what Istio refuses is refused here, and of
its merging: mesh, namespace, workload, port, the narrowest that says something; of equals the oldest.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from isthmus.config.errors import ConfigRefused, field_and_reason
from isthmus.config.store import ConfigKind, ConfigStore
from isthmus.kube.decoding import Ref, metadata_of
from isthmus.kube.kinds import untyped
from isthmus.model.workload import Workload

GROUP, PLURAL, KIND = "security.istio.io", "peerauthentications", "PeerAuthentication"
VERSIONS = ("v1", "v1beta1")
"""Served with one schema; the first is stored and read."""


def _cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """Rules (expression, message) that an API server from 1.25 on checks as an object is applied."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


class Mode(Enum):
    """What a workload accepts. UNSET inherits; PERMISSIVE takes mutual TLS and plain text alike."""

    UNSET = "UNSET"
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


class _Part(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """A mapping of the object: snake_case here is camelCase there."""


_LabelValue = Annotated[
    str,
    Meta(
        max_length=63, extra_json_schema=_cel(("!self.contains('*')", "wildcard is not allowed in a label"))
    ),
]
_Labels = Annotated[
    dict[str, _LabelValue],
    Meta(
        max_length=4096,
        extra_json_schema=_cel(
            ("self.all(key, !key.contains('*'))", "wildcard is not allowed in a label's key"),
            ("self.all(key, key.size() != 0)", "a label's key must not be empty"),
        ),
    ),
]


class WorkloadSelector(_Part, frozen=True):
    """Workloads of the object's namespace that carry all of `match_labels`."""

    match_labels: _Labels = {}


class MutualTls(_Part, frozen=True):
    """What is accepted."""

    mode: Mode = Mode.UNSET


_PortLevel = Annotated[
    dict[int, MutualTls],
    Meta(
        min_length=1,
        max_length=1000,
        extra_json_schema=_cel(
            ("self.all(key, 0 < int(key) && int(key) <= 65535)", "a port must be from 1 to 65535")
        ),
    ),
]


class PeerAuthenticationSpec(_Part, frozen=True):
    """Whether workloads accept mutual TLS, plain text or both.

    `port_level_mtls` names ports of the workload, not of its services.
    """

    selector: WorkloadSelector | None = None
    mtls: MutualTls | None = None
    port_level_mtls: _PortLevel | None = None


CHECKED_SPEC = Annotated[
    PeerAuthenticationSpec,
    Meta(
        extra_json_schema=_cel(
            (
                "(has(self.selector) && has(self.selector.matchLabels)"
                " && self.selector.matchLabels.size() > 0) || !has(self.portLevelMtls)",
                "portLevelMtls requires selector",
            )
        )
    ),
]
"""The spec with the rule that spans its fields, as the CRD says it."""


@dataclass(frozen=True, slots=True)
class PeerAuthentication:
    """One object. `created` is its `creationTimestamp` as Kubernetes writes it, which sorts by time."""

    ref: Ref
    created: str
    labels: tuple[tuple[str, str], ...]
    mode: Mode
    ports: tuple[tuple[int, Mode], ...]

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a workload of its namespace with these labels carries all that it asks for."""
        return all(labels.get(key) == value for key, value in self.labels)


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


def read_peer_authentication(found: Mapping[str, Any]) -> PeerAuthentication:
    """Decode one object. Raises ConfigRefused, naming the field."""
    metadata = metadata_of(found)
    ref = Ref(metadata.namespace, metadata.name)
    try:
        spec = msgspec.convert(found.get("spec") or {}, PeerAuthenticationSpec, str_keys=True)
    except msgspec.ValidationError as error:
        raise ConfigRefused(KIND, ref, *field_and_reason(error)) from None
    for field, reason in _faults(spec):
        raise ConfigRefused(KIND, ref, field, reason)
    return PeerAuthentication(
        ref=ref,
        created=metadata.creation_timestamp,
        labels=tuple(sorted(spec.selector.match_labels.items())) if spec.selector else (),
        mode=_mode(spec.mtls),
        ports=tuple(sorted((port, _mode(mtls)) for port, mtls in (spec.port_level_mtls or {}).items())),
    )


PEER_AUTHENTICATION = ConfigKind(untyped(GROUP, VERSIONS[0], PLURAL, KIND), read_peer_authentication)


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
_MOST_KNOWN = 10_000


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


def _mode(mtls: MutualTls | None) -> Mode:
    return Mode.UNSET if mtls is None else mtls.mode


def _faults(spec: PeerAuthenticationSpec) -> Iterator[tuple[str, str]]:
    """Rules that types cannot say (Istio: ValidatePeerAuthentication)."""
    labels = spec.selector.match_labels if spec.selector else {}
    for key, value in labels.items():
        if not key:
            yield "spec.selector.matchLabels", "a label's key must not be empty"
        if "*" in key or "*" in value:
            yield "spec.selector.matchLabels", f"`{key}={value}` has a wildcard; write labels out"
    ports = spec.port_level_mtls or {}
    if ports and not labels:
        yield "spec.portLevelMtls", "needs a selector with labels; ports of all workloads are no setting"
    for port in ports:
        if not 0 < port < 65536:
            yield "spec.portLevelMtls", f"{port} is no port number from 1 to 65535"
