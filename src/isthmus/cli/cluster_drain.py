"""`isthmus cluster drain` and `undrain`."""

import asyncio
from typing import Annotated

import typer

from isthmus.cli.output import Output, check_format, plain, print_documents, print_row, print_rows
from isthmus.cli.places import ControlContext, Kubeconfig, Namespace, control_site
from isthmus.config.durations import parse_duration
from isthmus.lib.errors import UserError
from isthmus.operate import draining

_DRAINED = {"name": "NAME", "secret": "SECRET", "drain": "DRAIN"}
_LONGEST = 7 * 86400.0

Name = Annotated[str, typer.Argument(metavar="NAME", help="The cluster's name in the mesh.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, and print the change as YAML.")]


def drain(
    name: Name,
    over: Annotated[str, typer.Option(help="How long it takes, at most a week; 0s is at once.")] = "30s",
    kubeconfig: Kubeconfig = None,
    control_context: ControlContext = None,
    namespace: Namespace = "istio-system",
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Shift the traffic of a cluster to the others, little by little, before it is removed or repaired.

    In the end it serves only what no other cluster can. Of one that drains already only the pace changes.
    """
    try:
        seconds = parse_duration(over).total_seconds()
    except ValueError as error:
        raise UserError(f"--over: {error}.", exit_code=2) from None
    if seconds > _LONGEST:
        raise UserError(f"--over is {over}; give a week (168h) at most.", exit_code=2)
    _run(name, seconds, kubeconfig, control_context, namespace, dry_run, output)


def undrain(
    name: Name,
    kubeconfig: Kubeconfig = None,
    control_context: ControlContext = None,
    namespace: Namespace = "istio-system",
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Give a cluster its whole share of the traffic again, at once."""
    _run(name, None, kubeconfig, control_context, namespace, dry_run, output)


def _run(
    name: str,
    seconds: float | None,
    kubeconfig: Kubeconfig,
    control_context: ControlContext,
    namespace: str,
    dry_run: bool,
    output: str,
) -> None:
    check_format(output)

    async def run() -> None:
        async with control_site(kubeconfig, control_context) as control:
            done, patch = await draining.drain(control, namespace, name, seconds, dry_run=dry_run)
        if dry_run:
            where = f"merged into the Secret of cluster {name}" if patch else "nothing is to change"
            print_documents([(where, patch or {})])
        elif output == "table":
            print_rows([plain(done)], output, _DRAINED)
        else:
            print_row(plain(done), output)

    asyncio.run(run())
