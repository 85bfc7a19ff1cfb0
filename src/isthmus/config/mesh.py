"""Mesh-wide configuration: the part of Istio's MeshConfig that has an effect here, in Istio's own YAML.

A field that has none is named in one warning and otherwise ignored, so that an operator's file for Istio
loads as it is; a field of the wrong type or with an unknown value is refused, by its path.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, cast

import msgspec
import structlog

from isthmus.config.cluster_local import ServiceSettings
from isthmus.config.durations import Duration, duration_text, parse_duration
from isthmus.config.proxy import ProxyConfig
from isthmus.lib.address import split_host_port
from isthmus.lib.errors import UserError
from isthmus.lib.yaml_text import NotYaml, read_yaml
from isthmus.model.exports import ALL, PATTERN, meaningful
from isthmus.model.service import ClusterId, Network, ServiceKey

_log = structlog.get_logger(__name__)
POLICY_PORT, POLICY_MTLS_PORT = 9091, 15004
"""Of istio-policy: in plain text, and where proxies prove who they are."""


class OutboundMode(Enum):
    """What happens to traffic for destinations that no service names."""

    ALLOW_ANY = "ALLOW_ANY"
    REGISTRY_ONLY = "REGISTRY_ONLY"


class _Part(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A mapping of the file: snake_case here is camelCase there."""


class OutboundTrafficPolicy(_Part, frozen=True):
    """ALLOW_ANY lets unknown destinations pass; REGISTRY_ONLY answers them with 502, or closes."""

    mode: OutboundMode = OutboundMode.ALLOW_ANY


class NetworkEndpoints(_Part, frozen=True):
    """One source of a network's endpoints: a cluster, by its name in the registry."""

    from_registry: str


class MeshNetwork(_Part, frozen=True):
    """One network: a set of clusters whose pods reach each other's addresses directly."""

    endpoints: tuple[NetworkEndpoints, ...] = ()


class StalePolicy(Enum):
    """What endpoints are worth that stand in a cluster which is no longer heard of."""

    KEEP = "keep"
    DEPRIORITISE = "deprioritise"
    """Those of other clusters serve first, these as far as others cannot."""
    EXPIRE = "expire"
    """They are taken away."""


class StaleEndpoints(_Part, frozen=True):
    """The worth of a stale cluster's endpoints; a cluster Secret's annotations may say otherwise for its own.

    `after`: how long a cluster must be stale for the policy to take hold. `recovery`: how long it must then
    be fresh for its endpoints to be worth all again; less than that interrupts nothing, so that a cluster
    that comes and goes does not move traffic each time.
    """

    policy: StalePolicy = StalePolicy.KEEP
    after: Duration = Duration(minutes=5)
    recovery: Duration = Duration(seconds=30)


class TlsVersion(Enum):
    """The least version of TLS. TLS_AUTO is 1.2."""

    TLS_AUTO = "TLS_AUTO"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


class MeshTls(_Part, frozen=True):
    """How sidecars speak mutual TLS, on both sides."""

    min_protocol_version: TlsVersion = TlsVersion.TLS_AUTO


class Certificates(_Part, frozen=True):
    """How long certificates and roots last.

    `lifetime` is a workload's where its agent asks for none, `longest_lifetime` the most that it may ask for
    (Istio: DEFAULT_WORKLOAD_CERT_TTL, MAX_WORKLOAD_CERT_TTL). `clock_skew` is how far clocks in the mesh may
    differ. A new root is trusted for `root_introduction` before it signs: as long as ConfigMaps may take to
    reach every pod.
    """

    lifetime: Duration = Duration(hours=24)
    longest_lifetime: Duration = Duration(days=7)
    clock_skew: Duration = Duration(minutes=2)
    root_lifetime: Duration = Duration(days=3650)
    root_introduction: Duration = Duration(minutes=10)


class IsthmusConfig(_Part, frozen=True):
    """What Istio has no field for: under the key `isthmus` of the mesh config."""

    certificates: Certificates = Certificates()
    stale_endpoints: StaleEndpoints = StaleEndpoints()
    heal_endpoints: bool = True
    """Whether the addresses of the control plane in remote clusters are kept at its own ready pods."""
    policy_check_timeout: Duration = Duration(milliseconds=500)
    """How long a proxy waits for the answer to a policy check."""


_Exported = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": PATTERN})]
"""Checked by `_check`, which says what may stand there."""


class MeshConfig(_Part, frozen=True):
    """Mesh-wide settings, with Istio's defaults (istio.mesh.v1alpha1.MeshConfig).

    Without `enable_auto_mtls` no client uses mutual TLS; servers still accept it. `access_log_file` is "" for
    none. A `protocol_detection_timeout` of 0 waits for ever, as a sniffed port must where a client may be
    slow to speak. `service_settings` say which services are cluster-local (`cluster_local`).
    `default_service_export_to` holds for Services that do not say whose proxies are told of them.
    `policy_check_fail_open` says what becomes of a request whose check is not answered;
    `mixer_check_server` is Istio's name for where checks are answered, HOST:PORT of a service ("": istio-
    policy in the root namespace, by mutual TLS).
    """

    enable_auto_mtls: bool = True
    mesh_mtls: MeshTls = msgspec.field(default=MeshTls(), name="meshMTLS")
    trust_domain: Annotated[str, msgspec.Meta(min_length=1)] = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    root_namespace: str = "istio-system"
    outbound_traffic_policy: OutboundTrafficPolicy = OutboundTrafficPolicy()
    connect_timeout: Duration = Duration(seconds=10)
    protocol_detection_timeout: Duration = Duration()
    access_log_file: str = ""
    mesh_networks: dict[str, MeshNetwork] = {}
    service_settings: tuple[ServiceSettings, ...] = ()
    default_service_export_to: tuple[_Exported, ...] = (ALL,)
    default_config: ProxyConfig = ProxyConfig()
    disable_policy_checks: bool = False
    policy_check_fail_open: bool = False
    mixer_check_server: str = ""
    isthmus: IsthmusConfig = IsthmusConfig()

    @property
    def policy_server(self) -> tuple[ServiceKey, int]:
        """The service that answers policy checks, and its port: by default that of mutual TLS, where this is
        also how proxies reach the control plane.
        """
        if not self.mixer_check_server:
            port = POLICY_MTLS_PORT if self.default_config.secure else POLICY_PORT
            return ServiceKey(self.root_namespace, "istio-policy"), port
        host, port = split_host_port(self.mixer_check_server) or ("", 0)
        name, namespace = host.split(".")[:2]
        return ServiceKey(namespace, name), port

    @property
    def networks(self) -> Mapping[ClusterId, Network]:
        """The network of each cluster that the operator placed in one."""
        return {
            ClusterId(source.from_registry): Network(name)
            for name, network in self.mesh_networks.items()
            for source in network.endpoints
        }


def read_mesh_config(text: str) -> MeshConfig:
    """Read MeshConfig's YAML; empty text gives the defaults.

    Raises UserError naming the field that is refused, or the line that is not YAML.
    """
    try:
        found: object = read_yaml(text)
    except NotYaml as error:
        raise UserError(f"Mesh config is not YAML ({error}); correct it there.") from error
    if found is None:
        return MeshConfig()
    if not isinstance(found, dict):
        raise UserError("Mesh config must be a mapping of field names to values; write `name: value` lines.")
    try:
        config = msgspec.convert(found, MeshConfig, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise UserError(f"Mesh config is refused: {_by_path(str(error))}; correct that field.") from error
    _check(config)
    for field in _unknown(cast("dict[object, object]", found), MeshConfig, ""):
        _log.warning("mesh config field has no effect", field=field)
    return config


def describe_mesh_config(config: MeshConfig) -> dict[str, Any]:
    """What is in force, with defaults, in the file's own words: what `read_mesh_config` would read."""
    return msgspec.to_builtins(config, enc_hook=_encode)


def _encode(value: object) -> str:
    if not isinstance(value, Duration):
        raise NotImplementedError(value)
    return duration_text(value)


def _decode(wanted: type, value: Any) -> Any:
    if wanted is not Duration:
        raise NotImplementedError(wanted)
    if not isinstance(value, str):
        raise ValueError(f"`{value}` is not a duration such as `10s`, `1m30s` or `250ms`")
    return parse_duration(value)


def _check(config: MeshConfig) -> None:
    """Rules that types cannot say."""
    kept = config.isthmus.certificates
    for path, refused in (
        ("connectTimeout: must be longer than 0s", not config.connect_timeout),
        ("rootNamespace: must not be empty", not config.root_namespace),
        ("isthmus.certificates.lifetime: must be longer than 0s", not kept.lifetime),
        (
            "isthmus.certificates.longestLifetime: must not be shorter than lifetime",
            kept.longest_lifetime < kept.lifetime,
        ),
        (
            "isthmus.certificates.rootLifetime: must be longer than longestLifetime",
            kept.root_lifetime <= kept.longest_lifetime,
        ),
        ("isthmus.policyCheckTimeout: must be longer than 0s", not config.isthmus.policy_check_timeout),
    ):
        if refused:
            raise UserError(f"Mesh config is refused: {path}; correct that field.")
    for index, entry in enumerate(config.default_service_export_to):
        if not meaningful(entry):
            raise UserError(
                f"Mesh config is refused: defaultServiceExportTo[{index}]: {entry!r} is no namespace; "
                'write one, or ".", "*" or "~".'
            )
    if config.mixer_check_server:
        _check_policy_server(config.mixer_check_server)
    placed: dict[str, str] = {}
    for name, network in config.mesh_networks.items():
        for source in network.endpoints:
            other = placed.setdefault(source.from_registry, name)
            if other != name:
                raise UserError(
                    f"Mesh config is refused: meshNetworks.{name}: cluster {source.from_registry} is in "
                    f"network {other} too; leave it in one of them."
                )


def _check_policy_server(text: str) -> None:
    found = split_host_port(text)
    if found is None or not found.port or len(found.host.split(".")) < 2:
        raise UserError(
            f"Mesh config is refused: mixerCheckServer: {text!r} names no service; "
            "write SERVICE.NAMESPACE.svc.cluster.local:15004."
        )


def _unknown(found: dict[object, object], known: type[msgspec.Struct], path: str) -> Iterator[str]:
    """Paths in `found` that no field of `known` reads, in the file's order."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(known)}
    for name, value in found.items():
        here = f"{path}.{name}" if path else str(name)
        if name not in fields:
            yield here
        else:
            yield from _unknown_within(value, fields[str(name)], here)


def _unknown_within(value: object, wanted: Any, path: str) -> Iterator[str]:
    inner = getattr(wanted, "__args__", ())
    if isinstance(value, dict):
        entries = cast("dict[object, object]", value)
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            yield from _unknown(entries, wanted, path)
        elif inner:
            for name, item in entries.items():
                yield from _unknown_within(item, inner[-1], f"{path}.{name}")
    elif isinstance(value, list) and inner:
        for index, item in enumerate(cast("list[object]", value)):
            yield from _unknown_within(item, inner[0], f"{path}[{index}]")


def _by_path(message: str) -> str:
    """msgspec's `Expected … - at `$.a.b`` the other way round: `a.b: expected …`."""
    reason, _, path = message.rpartition(" - at `$.")
    if not reason:
        return message
    return f"{path.rstrip('`')}: {reason[0].lower()}{reason[1:]}"
