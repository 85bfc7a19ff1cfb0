"""The kind PeerAuthentication (security.istio.io/v1): its types, its CRD's source, and its fields' rules.

The rules are those of Istio's webhook and of its CRD's CEL, so that what Istio refuses is refused here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from isthmus.config.errors import ConfigRefused, field_and_reason
from isthmus.config.store import ConfigKind
from isthmus.kube.decoding import Ref, metadata_of
from isthmus.kube.kinds import untyped

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
