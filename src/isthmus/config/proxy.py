"""Istio's ProxyConfig: what an operator may say about a sidecar, in mesh config or in a pod's annotation.

Only the fields that Isthmus acts on are typed; the rest of Istio's message is let through unread. The
injector writes it into `PROXY_CONFIG`, the agent reads it there: nothing dear to import belongs here.
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, TypeAlias

import msgspec

from isthmus.config.durations import Duration, parse_duration
from isthmus.lib.address import HostPort, split_host_port
from isthmus.lib.errors import UserError

DEFAULT_DISCOVERY_ADDRESS = "istio-pilot.istio-system.svc:15012"
PLAIN_PORTS = (15010,)
SECURE_PORTS = (15011, 15012)
"""Istio's ports of the control plane, without TLS and with it."""
_Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class AuthenticationPolicy(Enum):
    """How the proxy and the control plane prove to each other who they are."""

    NONE = "NONE"
    MUTUAL_TLS = "MUTUAL_TLS"


class StatsMatcher(msgspec.Struct, frozen=True, rename="camel"):
    """Statistics to keep beside the usual ones (ProxyConfig.ProxyStatsMatcher); expressions are RE2's."""

    inclusion_prefixes: tuple[str, ...] = ()
    inclusion_suffixes: tuple[str, ...] = ()
    inclusion_regexps: tuple[str, ...] = ()


class ProxyConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The fields of `istio.mesh.v1alpha1.ProxyConfig` in use.

    `statsd_udp_address` is where statistics go, "" for nowhere; it may be a name, which is looked up again
    while the proxy runs. `concurrency` 0 means one worker a core. `proxy_metadata` becomes environment
    variables of istio-proxy.
    """

    config_path: str = "/etc/istio/proxy"
    discovery_address: str = DEFAULT_DISCOVERY_ADDRESS
    statsd_udp_address: str = ""
    control_plane_auth_policy: AuthenticationPolicy = AuthenticationPolicy.MUTUAL_TLS
    concurrency: Annotated[int, msgspec.Meta(ge=0)] = 2
    drain_duration: Duration = Duration(seconds=45)
    termination_drain_duration: Duration = Duration(seconds=5)
    proxy_admin_port: _Port = 15000
    status_port: _Port = 15020
    proxy_metadata: dict[str, str] = {}
    hold_application_until_proxy_starts: bool = False
    proxy_stats_matcher: StatsMatcher = StatsMatcher()

    @property
    def statsd(self) -> HostPort | None:
        """Where statistics go."""
        return split_address(self.statsd_udp_address, "statsdUdpAddress") if self.statsd_udp_address else None

    @property
    def secure(self) -> bool:
        """Whether the control plane is dialled over TLS: if its port is one of Istio's, that says it, else
        `control_plane_auth_policy`.
        """
        port = split_address(self.discovery_address, "discoveryAddress").port
        if port in PLAIN_PORTS:
            return False
        return port in SECURE_PORTS or self.control_plane_auth_policy is AuthenticationPolicy.MUTUAL_TLS


def parse_proxy_config(raw: Mapping[str, Any], source: str) -> ProxyConfig:
    """Decode and check; `source` names where `raw` was read, for the UserError."""
    try:
        config = msgspec.convert(raw, ProxyConfig, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise UserError(f"{source} is no ProxyConfig: {error}; correct that field.") from error
    split_address(config.discovery_address, f"{source}: discoveryAddress")
    if config.statsd_udp_address:
        split_address(config.statsd_udp_address, f"{source}: statsdUdpAddress")
    for expression in config.proxy_stats_matcher.inclusion_regexps:
        try:
            re.compile(expression)
        except re.error as error:
            where = f"{source}: proxyStatsMatcher.inclusionRegexps"
            raise UserError(f"{where}: {expression!r} is no expression: {error}; correct it.") from error
    return config


def split_address(text: str, source: str) -> HostPort:
    """Where to dial: `HOST:PORT` or `[IPv6]:PORT`; anything else is a UserError that names `source`."""
    found = split_host_port(text)
    if found is None or not found.host or not found.port:
        raise UserError(f"{source} is {text!r}; write HOST:PORT, like {DEFAULT_DISCOVERY_ADDRESS}.")
    return found


def _decode(wanted: type, value: Any) -> Any:
    if wanted is not Duration:
        raise NotImplementedError(wanted)
    return parse_duration(str(value))
