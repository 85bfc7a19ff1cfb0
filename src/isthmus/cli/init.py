"""`isthmus init`: what istio-init runs, once, before the application starts."""

from typing import Annotated

import typer

from isthmus.agent.iptables import families_here, redirect, stop_redirecting
from isthmus.config.redirection import redirection_from
from isthmus.lib.log import configure_logging


def init(
    include_inbound_ports: Annotated[
        str, typer.Option(help="Ports whose incoming connections go through Envoy; * is all.")
    ] = "*",
    exclude_inbound_ports: Annotated[str, typer.Option(help="Incoming ports that do not.")] = "",
    include_outbound_ports: Annotated[str, typer.Option(help="Outgoing ports that do, wherever to.")] = "",
    exclude_outbound_ports: Annotated[str, typer.Option(help="Outgoing ports that do not.")] = "",
    include_outbound_ranges: Annotated[
        str, typer.Option(help="CIDRs to which connections go through Envoy; * is all.")
    ] = "*",
    exclude_outbound_ranges: Annotated[str, typer.Option(help="CIDRs to which they do not.")] = "",
    clean: Annotated[bool, typer.Option("--clean", help="Take the rules out instead.")] = False,
) -> None:
    """Redirect this pod's traffic to Envoy (what istio-init runs)."""
    configure_logging()
    texts = {
        "include_inbound_ports": include_inbound_ports,
        "exclude_inbound_ports": exclude_inbound_ports,
        "include_outbound_ports": include_outbound_ports,
        "exclude_outbound_ports": exclude_outbound_ports,
        "include_outbound_ranges": include_outbound_ranges,
        "exclude_outbound_ranges": exclude_outbound_ranges,
    }
    if clean:
        stop_redirecting(families_here())
        return
    names = {field: f"--{field.replace('_', '-')}" for field in texts}
    redirect(redirection_from(texts, names), families_here())
