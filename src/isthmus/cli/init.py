"""`isthmus init`: what istio-init runs, once, before the application starts."""

import os
from typing import Annotated

import typer

from isthmus.agent.iptables import families_here, redirect, stop_redirecting
from isthmus.config.redirection import redirection_from
from isthmus.lib.errors import UserError
from isthmus.lib.log import configure_logging

_OF_PODS = "KUBERNETES_SERVICE_HOST"
"""Every container that a kubelet starts has it, whatever the pod's `enableServiceLinks` says."""


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
    anywhere: Annotated[bool, typer.Option("--anywhere", help="Also where this is no pod.")] = False,
) -> None:
    """Redirect this pod's traffic to Envoy (what istio-init runs).

    Refused outside of pods: there it would cut off the machine on which it is typed.
    """
    if not (clean or anywhere or _OF_PODS in os.environ):
        raise UserError(
            f"This is no pod ({_OF_PODS} is not set): all traffic of this machine would go to an Envoy that "
            "is not there. `isthmus inject` adds a sidecar to pods; --anywhere does it here all the same."
        )
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
