"""`isthmus pilot`: run the control plane."""

import os
from pathlib import Path
from typing import Annotated

import typer

IN_POD = "KUBERNETES_SERVICE_HOST" in os.environ


def pilot(
    kubeconfig: Annotated[
        Path | None, typer.Option(help="The control plane's own cluster. In a pod: its service account.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="The kubeconfig's context.")] = None,
    namespace: Annotated[
        str | None,
        typer.Option(help="Where the cluster Secrets are. In a pod: its own; elsewhere istio-system."),
    ] = None,
    cluster_id: Annotated[
        str, typer.Option(envvar="CLUSTER_ID", help="The own cluster's name in the mesh.")
    ] = "Kubernetes",
    xds_address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Plain-text xDS: on loopback, unless the mesh config's controlPlaneAuthPolicy is NONE; "
            "empty: none.",
        ),
    ] = ":15010" if IN_POD else "127.0.0.1:15010",
    xds_tls_address: Annotated[
        list[str],
        typer.Option(
            metavar="HOST:PORT",
            help="xDS and certificates over TLS, for proxies that prove who they are; may be given again.",
        ),
    ] = [":15012", ":15011"] if IN_POD else ["127.0.0.1:15012"],
    http_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Readiness, metrics and debug pages.")
    ] = ":8080" if IN_POD else "127.0.0.1:8080",
    monitoring_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The same pages once more, for scrapers; empty: none.")
    ] = ":15014" if IN_POD else "",
    mesh_config: Annotated[
        Path | None, typer.Option(help="Istio's MeshConfig as YAML. In a pod: /etc/istio/config/mesh.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the control plane: watch every cluster of the mesh and tell every Envoy what it sees.

    Ends with SIGTERM or SIGINT.
    """
    from isthmus.apps.pilot import PilotOptions, run_pilot
    from isthmus.lib.address import parse_host_port
    from isthmus.lib.errors import UserError

    if not cluster_id:
        raise UserError("--cluster-id is empty; give the own cluster's name, or leave it out.", exit_code=2)

    http = [parse_host_port(http_address, "--http-address")]
    if monitoring_address:
        http.append(parse_host_port(monitoring_address, "--monitoring-address"))
    run_pilot(
        PilotOptions(
            kubeconfig=kubeconfig,
            context=context,
            namespace=namespace,
            cluster_id=cluster_id,
            xds_address=parse_host_port(xds_address, "--xds-address") if xds_address else None,
            xds_tls_addresses=[parse_host_port(one, "--xds-tls-address") for one in xds_tls_address],
            http_addresses=http,
            mesh_config=mesh_config,
        ),
        log_level=log_level,
    )
