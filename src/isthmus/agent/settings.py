"""What the agent is told: the environment of istio-proxy, as the injector writes it, decoded and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from isthmus.config.app_probes import VARIABLE as APP_PROBES
from isthmus.config.app_probes import AppProbes, read_app_probes
from isthmus.config.proxy import PLAIN_PORTS, ProxyConfig, parse_proxy_config, split_address
from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError

_SECRETS = Path("/var/run/secrets")
_CA_PORT = 15012
_METADATA = "ISTIO_META_"
_OFF = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One sidecar: who it is, and how its Envoy is run.

    `ca` is where certificates are asked for, with the token in `token_file`, of a server that a root in
    `roots_file` vouches for.

    `metadata` is node metadata from `ISTIO_META_…` variables, prefix removed. `labels` are the pod's.
    `delta` chooses the incremental form of ADS over state of the world. `app_probes` are those that the agent
    makes in the kubelet's stead.
    """

    pod: str
    namespace: str
    address: str
    service_account: str
    domain: str
    metadata: Mapping[str, str]
    labels: Mapping[str, str]
    proxy: ProxyConfig
    ca: HostPort
    token_file: Path
    roots_file: Path
    delta: bool
    health_port: int
    prometheus_port: int
    log_level: str
    app_probes: AppProbes

    @property
    def node_id(self) -> str:
        """Istio's node id: `sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.DOMAIN`."""
        pod = f"{self.pod}.{self.namespace}"
        return f"sidecar~{self.address}~{pod}~{self.namespace}.svc.{self.domain}"

    @property
    def cluster(self) -> str:
        """The name of the pod's cluster in the mesh; "" leaves it to the control plane to find out."""
        return self.metadata.get("CLUSTER_ID", "")

    @property
    def secret_socket(self) -> Path:
        """Where Envoy fetches secrets from the agent, as Istio names it."""
        return Path(self.proxy.config_path) / "SDS"

    @property
    def ipv6(self) -> bool:
        """Whether the pod's primary address is IPv6."""
        return ip_address(self.address).version == 6

    @property
    def status_hosts(self) -> tuple[str, ...]:
        """Where the agent's status is served: all addresses; Envoy always asks at IPv4's loopback."""
        return ("127.0.0.1", "::") if self.ipv6 else ("0.0.0.0",)

    @property
    def drain_seconds(self) -> float:
        """How long Envoy may drain after SIGTERM (`terminationDrainDuration`)."""
        return self.proxy.termination_drain_duration.total_seconds()


def read_settings(environment: Mapping[str, str], labels: str = "") -> AgentSettings:
    """Settings from istio-proxy's environment and the text of its downward-API file of labels, if any.

    Raises UserError naming the variable that is missing or wrong.
    """
    address = _required(environment, "INSTANCE_IP")
    try:
        ip_address(address)
    except ValueError as error:
        raise UserError(
            f"INSTANCE_IP is {address!r}, which is no address; set it to the pod's IP."
        ) from error
    proxy = parse_proxy_config(_proxy_config(environment), "PROXY_CONFIG")
    return AgentSettings(
        pod=_required(environment, "POD_NAME"),
        namespace=_required(environment, "POD_NAMESPACE"),
        address=address,
        service_account=environment.get("SERVICE_ACCOUNT", "default"),
        domain=environment.get("DOMAIN_SUFFIX", "cluster.local"),
        metadata={
            name.removeprefix(_METADATA): value
            for name, value in sorted(environment.items())
            if name.startswith(_METADATA) and value
        },
        labels=parse_labels(labels),
        proxy=proxy,
        ca=_ca(environment, proxy),
        token_file=Path(environment.get("ISTIO_TOKEN_FILE") or _SECRETS / "tokens/istio-token"),
        roots_file=Path(environment.get("CA_ROOT_CA") or _SECRETS / "istio/root-cert.pem"),
        delta=environment.get("ISTIO_DELTA_XDS", "true").lower() not in _OFF,
        health_port=_port(environment, "ENVOY_STATUS_PORT", 15021),
        prometheus_port=_port(environment, "ENVOY_PROMETHEUS_PORT", 15090),
        log_level=environment.get("ENVOY_LOG_LEVEL", "warning"),
        app_probes=read_app_probes(environment.get(APP_PROBES, "")),
    )


def parse_labels(text: str) -> dict[str, str]:
    """Labels out of a downward-API file: one `key="value"` a line; lines of another form are passed over."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {
        key: value[1:-1]
        for key, equals, value in pairs
        if equals and len(value) >= 2 and value[0] == value[-1] == '"'
    }


def _ca(environment: Mapping[str, str], proxy: ProxyConfig) -> HostPort:
    """As Istio has it: `CA_ADDR`, else where the control plane is, by its port that speaks TLS."""
    given = environment.get("CA_ADDR")
    if given:
        return split_address(given, "CA_ADDR")
    host, port = split_address(proxy.discovery_address, "discoveryAddress")
    return HostPort(host, _CA_PORT if port in PLAIN_PORTS else port)


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise UserError(f"{name} is not set; the agent runs in a container that `isthmus inject` wrote.")
    return value


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise UserError(f"{name} is {text!r}, which is no port; give one from 1 to 65535.")
    return int(text)


def _proxy_config(environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        return msgspec.json.decode(environment.get("PROXY_CONFIG") or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UserError(f"PROXY_CONFIG is no JSON object: {error}.") from error
