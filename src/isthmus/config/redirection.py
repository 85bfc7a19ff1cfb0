"""Which of a pod's traffic goes through its sidecar: Istio's `traffic.sidecar.istio.io/*` annotations.

Parsed and checked here for the injector, which reads annotations, and for istio-init, which writes rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from isthmus.lib.errors import UserError

Everything = Literal["*"]
Ports = tuple[int, ...]
Range = IPv4Network | IPv6Network
Ranges = tuple[Range, ...]

ANNOTATIONS = {
    "include_inbound_ports": "traffic.sidecar.istio.io/includeInboundPorts",
    "exclude_inbound_ports": "traffic.sidecar.istio.io/excludeInboundPorts",
    "include_outbound_ports": "traffic.sidecar.istio.io/includeOutboundPorts",
    "exclude_outbound_ports": "traffic.sidecar.istio.io/excludeOutboundPorts",
    "include_outbound_ranges": "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "exclude_outbound_ranges": "traffic.sidecar.istio.io/excludeOutboundIPRanges",
}
"""Field of `Redirection` → annotation that sets it."""


@dataclass(frozen=True, slots=True)
class Redirection:
    """What istio-init redirects. An empty inclusion means: nothing of that direction.

    As in Istio, exclusions of inbound ports count only while all inbound ports are included, and
    `include_outbound_ports` are redirected whatever their address is.
    """

    include_inbound_ports: Ports | Everything = "*"
    exclude_inbound_ports: Ports = ()
    include_outbound_ports: Ports = ()
    exclude_outbound_ports: Ports = ()
    include_outbound_ranges: Ranges | Everything = "*"
    exclude_outbound_ranges: Ranges = ()

    def arguments(self) -> list[str]:
        """Command-line arguments of `isthmus init` that say the same."""
        return [
            f"--{field.name.replace('_', '-')}={_text(getattr(self, field.name))}" for field in fields(self)
        ]


def redirection_from(texts: Mapping[str, str], names: Mapping[str, str]) -> Redirection:
    """Build one from the text of each given field; `names` says what a person calls that field."""
    texts = {field: "".join(text.split()) for field, text in texts.items()}

    def ports(field: str) -> Ports:
        return tuple(_port(part, names[field]) for part in texts.get(field, "").split(",") if part)

    def ranges(field: str) -> Ranges:
        return tuple(_range(part, names[field]) for part in texts.get(field, "").split(",") if part)

    return Redirection(
        include_inbound_ports="*"
        if texts.get("include_inbound_ports", "*") == "*"
        else ports("include_inbound_ports"),
        exclude_inbound_ports=ports("exclude_inbound_ports"),
        include_outbound_ports=ports("include_outbound_ports"),
        exclude_outbound_ports=ports("exclude_outbound_ports"),
        include_outbound_ranges="*"
        if texts.get("include_outbound_ranges", "*") == "*"
        else ranges("include_outbound_ranges"),
        exclude_outbound_ranges=ranges("exclude_outbound_ranges"),
    )


def _text(value: Ports | Ranges | Everything) -> str:
    return ",".join(str(part) for part in value)


def _port(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise UserError(f"{name}: {text!r} is no port; give ports from 1 to 65535, separated by commas.")
    return int(text)


def _range(text: str, name: str) -> Range:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise UserError(
            f"{name}: {text!r} is no range of addresses; give CIDRs such as 10.0.0.0/8, separated by commas."
        ) from error
