"""Istio's ProxyConfig: what an operator may say about a sidecar, in mesh config or in a pod's annotation.

Only the fields that Isthmus acts on are typed; the rest of Istio's message is let through unread. The types
are shared by the injector, which writes `PROXY_CONFIG`, and the agent, which reads it.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from isthmus.lib.errors import UserError

DEFAULT_DISCOVERY_ADDRESS = "istio-pilot.istio-system.svc:15010"
_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)


class ProxyConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The fields of `istio.mesh.v1alpha1.ProxyConfig` in use; durations are text such as `5s`.

    `concurrency` 0 means one worker a core. `proxy_metadata` becomes environment variables of istio-proxy.
    """

    config_path: str = "/etc/istio/proxy"
    discovery_address: str = DEFAULT_DISCOVERY_ADDRESS
    concurrency: int = 2
    drain_duration: str = "45s"
    termination_drain_duration: str = "5s"
    proxy_admin_port: int = 15000
    status_port: int = 15020
    proxy_metadata: dict[str, str] = {}


def parse_proxy_config(raw: Mapping[str, Any], source: str) -> ProxyConfig:
    """Decode and check; `source` names where `raw` was read, for the UserError."""
    try:
        config = msgspec.convert(raw, ProxyConfig)
    except msgspec.ValidationError as error:
        raise UserError(f"{source} is no ProxyConfig: {error}; correct that field.") from error
    for field, duration in (
        ("drainDuration", config.drain_duration),
        ("terminationDrainDuration", config.termination_drain_duration),
    ):
        duration_seconds(duration, f"{source}: {field}")
    split_address(config.discovery_address, f"{source}: discoveryAddress")
    if config.concurrency < 0:
        raise UserError(f"{source}: concurrency is {config.concurrency}; give 0 (all cores) or more.")
    return config


def duration_seconds(text: str, source: str) -> float:
    """Seconds in `5s`, `1m30s`, `250ms`; anything else is a UserError that names `source`."""
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise UserError(f"{source} is {text!r}, which is no duration; write it like 5s, 1m30s or 250ms.")
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def split_address(text: str, source: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPv6]:PORT`; anything else is a UserError that names `source`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    bare_ipv6 = ":" in host and not text.startswith("[")
    if not colon or not host or bare_ipv6 or not (port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(f"{source} is {text!r}; write it like istio-pilot.istio-system.svc:15010.")
    return host, int(port)
