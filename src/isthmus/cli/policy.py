"""`isthmus policy`: the policy server, and what its rules would do with a request."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

_IN_POD = "KUBERNETES_SERVICE_HOST" in os.environ

app = typer.Typer(help="Policy decisions for Envoy.", invoke_without_command=True)

_Rules = Annotated[
    list[Path] | None,
    typer.Option("--rules", "-r", help="Policies out of these files instead of the Kubernetes API."),
]
_Kubeconfig = Annotated[
    Path | None, typer.Option(help="The cluster with the policies. In a pod: its service account.")
]
_Context = Annotated[str | None, typer.Option(help="The kubeconfig's context.")]
_RootNamespace = Annotated[
    str | None,
    typer.Option(help="The namespace whose policies hold for all namespaces. Left out: as mesh config says."),
]


@app.callback()
def policy(
    context_: typer.Context,
    rules: _Rules = None,
    kubeconfig: _Kubeconfig = None,
    context: _Context = None,
    root_namespace: _RootNamespace = None,
    mesh_config: Annotated[
        Path | None, typer.Option(help="Istio's MeshConfig as YAML. In a pod: /etc/istio/config/mesh.")
    ] = None,
    discovery_address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="The control plane, which tells of the mesh's pods. In a pod: as the mesh config says.",
        ),
    ] = "",
    token_file: Annotated[Path, typer.Option(help="A token that proves to the control plane who asks.")] = (
        Path("/var/run/secrets/tokens/istio-token")
    ),
    roots_file: Annotated[Path, typer.Option(help="The mesh's roots.")] = (
        Path("/var/run/secrets/istio/root-cert.pem")
    ),
    redis_url: Annotated[
        str,
        typer.Option(
            envvar="REDIS_URL", help="A Redis that counts quotas for all replicas: redis://HOST:PORT."
        ),
    ] = "",
    grpc_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Envoy's ext_authz and rate limit, plain text.")
    ] = ":9091" if _IN_POD else "127.0.0.1:9091",
    tls_address: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="The same by mutual TLS, where the mesh has a CA."),
    ] = ":15004" if _IN_POD else "127.0.0.1:15004",
    monitoring_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Readiness and metrics.")
    ] = ":9093" if _IN_POD else "127.0.0.1:9093",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Answer Envoy's questions whether requests are allowed, by the mesh's policies.

    Ends with SIGTERM or SIGINT.
    """
    if context_.invoked_subcommand is not None:
        return
    # gRPC would write a line for each caller that asks for a name that our certificate has not: proxies do.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from isthmus.apps.policy import run_policy
    from isthmus.apps.policy_options import PolicyOptions
    from isthmus.lib.address import parse_host_port

    run_policy(
        PolicyOptions(
            rules=tuple(rules or ()),
            kubeconfig=kubeconfig,
            context=context,
            root_namespace=root_namespace,
            redis_url=redis_url,
            mesh_config=mesh_config,
            discovery_address=(
                parse_host_port(discovery_address, "--discovery-address") if discovery_address else None
            ),
            token_file=token_file,
            roots_file=roots_file,
            grpc_address=parse_host_port(grpc_address, "--grpc-address"),
            tls_address=parse_host_port(tls_address, "--tls-address"),
            monitoring_address=parse_host_port(monitoring_address, "--monitoring-address"),
        ),
        log_level=log_level,
    )


@app.command()
def check(
    request: Annotated[Path, typer.Option("--filename", "-f", help="The request's attributes as YAML.")],
    rules: _Rules = None,
    kubeconfig: _Kubeconfig = None,
    context: _Context = None,
    root_namespace: _RootNamespace = None,
    output: Annotated[str, typer.Option("--output", "-o", help="text or json.")] = "text",
) -> None:
    """Tell which rules would match a request, and why.

    Ends with 0 where it would be allowed, 1 where not, and 2 where that cannot be told.
    """
    from isthmus.apps.policy_check import check_request
    from isthmus.lib.errors import UserError

    if output not in ("text", "json"):
        raise UserError(f"--output is {output!r}; give text or json.", exit_code=2)
    try:
        result = check_request(
            request,
            rules=rules or [],
            kubeconfig=kubeconfig,
            context=context,
            root_namespace=root_namespace or "istio-system",
        )
    except UserError as error:
        error.exit_code = 2
        raise
    _print(result, output)
    if not result["allowed"]:
        raise typer.Exit(1)


def _print(result: dict[str, Any], output: str) -> None:
    import json

    from rich.console import Console
    from rich.table import Table

    if output == "json":
        typer.echo(json.dumps(result, indent=2))
        return
    table = Table("rule", "outcome", "why", box=None)
    for step in result["rules"]:
        outcome = f"{step['outcome']} (dry run)" if step["dryRun"] else step["outcome"]
        table.add_row(step["rule"], outcome, step["why"])
    console = Console(highlight=False, markup=False)
    if result["connection"]:
        console.print("This is a connection without requests: rules about requests say nothing of it.")
    if result["rules"]:
        console.print(table)
        if any(step["outcome"] == "denied" and step["why"].endswith("is absent") for step in result["rules"]):
            console.print(
                "What refuses takes an absent proof for a match; `absent: skip` passes such a rule over."
            )
        if result["unasked"]:
            console.print(f"{result['unasked']} more of the rules that apply were not asked.")
    elif not result["policies"]:
        console.print("No policy applies to that destination.")
    for one in result["rejected"]:
        console.print(f"Not in force: policy {one['policy']}: {one['field']}: {one['reason']}")
    console.print(
        "allowed" if result["allowed"] else f"denied with {result['status']} by {result['deniedBy']}"
    )
