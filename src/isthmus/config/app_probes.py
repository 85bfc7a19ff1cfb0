"""Probes of the application that the sidecar's agent makes, since a kubelet's would meet Envoy instead.

The injector points the kubelet at the agent (`/app-health/CONTAINER/livez`, `readyz`, `startupz`) and tells
the agent in `ISTIO_KUBE_APP_PROBERS`, in Istio's form, what to do there. Both use this module, so that they
cannot disagree.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from isthmus.lib.errors import UserError

VARIABLE = "ISTIO_KUBE_APP_PROBERS"
PREFIX = "/app-health/"
PATHS = {"livenessProbe": "livez", "readinessProbe": "readyz", "startupProbe": "startupz"}
"""Field of a container → last part of the path."""


class Header(msgspec.Struct, frozen=True):
    """A header of a probe's request (core/v1 HTTPHeader)."""

    name: str
    value: str = ""


class HttpGet(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 HTTPGetAction, its port resolved. `scheme` is HTTP or HTTPS, in any case.

    Written in full: msgspec knows a default text by identity only, so an equal one is left out at times.
    """

    port: int
    path: str = "/"
    scheme: str = "HTTP"
    http_headers: tuple[Header, ...] = ()


class TcpSocket(msgspec.Struct, frozen=True):
    """core/v1 TCPSocketAction, its port resolved."""

    port: int


class Grpc(msgspec.Struct, frozen=True):
    """core/v1 GRPCAction: the service that grpc.health.v1.Health is asked for; None or "": the server."""

    port: int
    service: str | None = None


class AppProbe(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One probe, of the first action that is set. `timeout_seconds` is Kubernetes' default where left out."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    grpc: Grpc | None = None
    timeout_seconds: int | float = 1


AppProbes = Mapping[str, AppProbe]
"""Path → probe."""


def read_app_probes(text: str) -> AppProbes:
    """The probes in the agent's variable; "" holds none. UserError names the variable and the field."""
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, AppProbe])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UserError(
            f"{VARIABLE} is not as the injector writes it: {error}; inject the pod anew."
        ) from error


def write_app_probes(probes: Mapping[str, Any]) -> str:
    """The variable's text: JSON of probes as core/v1 has them, in a fixed order."""
    return msgspec.json.encode(probes, order="sorted").decode()
