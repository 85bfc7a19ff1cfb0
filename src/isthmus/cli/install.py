"""`isthmus install`, `remote install` and `uninstall`: the charts, by the operator's own helm."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.output import Output, ask, check_format
from isthmus.cli.places import (
    ControlContext,
    ControlKubeconfig,
    Kubeconfig,
    Namespace,
    OptionalContext,
    complete_context,
    context_site,
    control_site,
)
from isthmus.operate import charts

remote = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

RemoteContext = Annotated[
    str, typer.Argument(metavar="CONTEXT", help="The remote cluster's.", autocompletion=complete_context)
]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for the chart; may be repeated.")]
Values = Annotated[list[Path] | None, typer.Option("--values", "-f", help="A values file for the chart.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the objects as YAML; change nothing.")]
Wait = Annotated[bool, typer.Option("--wait", help="End only when all of it is ready.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@remote.callback()
def remote_commands() -> None:
    """The control plane's part in remote clusters."""


def install(
    context: OptionalContext = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = "istio-system",
    cluster_id: Annotated[
        str | None, typer.Option(help="This cluster's name in the mesh; else Kubernetes.")
    ] = None,
    set_: Set = None,
    values: Values = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Install the control plane, or upgrade it (helm upgrade --install)."""
    options = [] if cluster_id is None else ["--set", f"global.multiCluster.clusterName={cluster_id}"]
    release = charts.Release(charts.CONTROL_PLANE, namespace, context or "", kubeconfig)
    options += _options(set_, values, wait=wait and not dry_run)
    _install(release, options, dry_run=dry_run, output=output)


@remote.command("install")
def remote_install(
    context: RemoteContext,
    kubeconfig: Kubeconfig = None,
    control_context: ControlContext = None,
    control_kubeconfig: ControlKubeconfig = None,
    namespace: Namespace = "istio-system",
    cluster_name: Annotated[
        str | None, typer.Option(help="Its name in the mesh, as in `isthmus cluster add`.")
    ] = None,
    set_: Set = None,
    values: Values = None,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Install the remote's part, with the addresses of the control plane's ready pods filled in."""

    async def find() -> dict[str, tuple[str, ...]]:
        async with (
            control_site(control_kubeconfig or kubeconfig, control_context) as control,
            context_site(kubeconfig, context) as site,
        ):
            return await charts.find_endpoints(control, site, namespace)

    options = charts.endpoint_options(asyncio.run(find()))
    if cluster_name is not None:
        options += ["--set", f"global.multiCluster.clusterName={cluster_name}"]
    release = charts.Release(charts.REMOTE, namespace, context, kubeconfig)
    _install(release, [*options, *_options(set_, values, wait=False)], dry_run=dry_run, output=output)


def uninstall(
    context: OptionalContext = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = "istio-system",
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would mean.")] = False,
) -> None:
    """Uninstall the control plane. Its CRDs, namespace and cluster Secrets stay."""
    release = charts.Release(charts.CONTROL_PLANE, namespace, context or "", kubeconfig)
    gone = (
        "Proxies keep what they were told last, and learn nothing new. Its namespace, the cluster Secrets "
        "and the custom kinds with their objects stay."
    )
    _uninstall(release, gone, yes=yes, dry_run=dry_run)


@remote.command("uninstall")
def remote_uninstall(
    context: RemoteContext,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = "istio-system",
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would mean.")] = False,
) -> None:
    """Uninstall the remote's part: the endpoints, and the reader's account and rights."""
    release = charts.Release(charts.REMOTE, namespace, context, kubeconfig)
    gone = "Proxies there lose the control plane, and it loses the cluster where it reads it as that account."
    _uninstall(release, gone, yes=yes, dry_run=dry_run)


def _options(set_: list[str] | None, values: list[Path] | None, *, wait: bool) -> list[str]:
    options = [word for file in values or () for word in ("--values", str(file))]
    options += [word for text in set_ or () for word in ("--set", text)]
    return [*options, *(["--wait"] if wait else [])]


def _install(release: charts.Release, options: list[str], *, dry_run: bool, output: str) -> None:
    check_format(output)

    async def run() -> str:
        helm = await charts.known_helm()
        format_ = ["--output", output] if helm.major >= 3 and not dry_run else []
        return await charts.install(helm, release, [*options, *format_], dry_run=dry_run)

    typer.echo(asyncio.run(run()), nl=False)


def _uninstall(release: charts.Release, loss: str, *, yes: bool, dry_run: bool) -> None:
    typer.echo(f"Release {release.name} leaves {release.context or 'the current context'}. {loss}")
    if dry_run:
        return
    if not yes:
        ask(f"Uninstall {release.name}?")

    async def run() -> bool:
        return await charts.uninstall(await charts.known_helm(), release)

    there = asyncio.run(run())
    typer.echo(f"Release {release.name} {'uninstalled' if there else 'is not there: nothing was done'}.")
