"""`isthmus lab`: whole clusters on this machine."""

import asyncio
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from isthmus.lib.errors import UserError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Pod = Annotated[
    str, typer.Argument(metavar="CLUSTER/NAMESPACE/POD", help="As `isthmus lab status` names it.")
]
Container = Annotated[str, typer.Option("--container", "-c", help="The first one, if none is named.")]


@app.callback()
def lab() -> None:
    """Whole clusters on this machine, without Docker and without VMs. Needs root.

    Kubeconfigs are readable by root only, as they hold an administrator's key.
    """


def _say(text: str) -> None:
    """A line of progress: coloured on a terminal, plain elsewhere."""
    Console(highlight=sys.stdout.isatty()).print(text, soft_wrap=True, markup=False)


@app.command()
def up(
    clusters: Annotated[str, typer.Option(help="Names, separated by commas.")] = "west,east",
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Start a Prometheus too, for the bridge and every proxy.")
    ] = False,
) -> None:
    """Bring clusters up; where they are, start again what of them has died."""
    from isthmus.lab.prometheus.starting import find_prometheus, prometheus_url, start_prometheus
    from isthmus.lab.up import bring_up

    if prometheus:
        find_prometheus()
    bring_up([name.strip() for name in clusters.split(",")], _say)
    if prometheus:
        start_prometheus()
        _say(f"Prometheus is up: {prometheus_url()}")


@app.command()
def down() -> None:
    """Take the lab down and leave nothing of it, whatever state it is in."""
    from isthmus.lab.down import take_down

    take_down()
    _say("Nothing is left of the lab.")


@app.command()
def status(
    output: Annotated[str, typer.Option("--output", "-o", help="`json`, or nothing for a table.")] = "",
) -> None:
    """Show the clusters, what of them runs, and their pods."""
    from isthmus.lab.status import print_status, read_status
    from isthmus.lab.up import require_root, running_lab

    if output not in ("", "json"):
        raise UserError(f"-o {output} is unknown; use `-o json`, or leave it out.", exit_code=2)
    require_root("status")
    found = asyncio.run(read_status(running_lab()))
    if output == "json":
        typer.echo(msgspec.json.encode(found))
    else:
        print_status(found, Console(highlight=False))


@app.command(name="exec", context_settings={"ignore_unknown_options": True})
def exec_(
    pod: Pod, command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…")], container: Container = ""
) -> None:
    """Run a command in a container; its exit code is passed through."""
    from isthmus.lab.exec import enter_pod
    from isthmus.lab.reference import parse_reference
    from isthmus.lab.up import require_root

    reference = parse_reference(pod)
    require_root("exec")
    found = enter_pod(reference, container, command)
    os.execvpe(found.argv[0], found.argv, found.env)


@app.command()
def logs(
    pod: Pod,
    container: Container = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as more comes.")] = False,
) -> None:
    """Print the output of a container."""
    from isthmus.lab.exec import logs_command
    from isthmus.lab.reference import parse_reference
    from isthmus.lab.up import require_root

    reference = parse_reference(pod)
    require_root("logs")
    line = logs_command(reference, container, follow=follow)
    os.execv(line[0], line)


@app.command()
def env(cluster: str) -> None:
    """Point a shell's kubectl and helm at a cluster: eval "$(isthmus lab env west)".

    What of isthmus, kubectl and helm is not on PATH is added at its end: those that the lab runs.
    """
    from isthmus.lab.helm import find_helm
    from isthmus.lab.reference import find_cluster
    from isthmus.lib.binaries import find_kubectl

    typer.echo(f"export KUBECONFIG={shlex.quote(str(find_cluster(cluster).kubeconfig))}")
    programs = {"isthmus": lambda: Path(sys.executable), "kubectl": find_kubectl, "helm": find_helm}
    folders: dict[Path, None] = {}
    for name, find in programs.items():
        try:
            if shutil.which(name) is None:
                folders[find().absolute().parent] = None
        except UserError as missing:
            typer.echo(f"isthmus: {missing}", err=True)
    if folders:
        typer.echo(f'export PATH="$PATH":{shlex.quote(":".join(map(str, folders)))}')


@app.command()
def fault(
    cluster: str,
    kind: Annotated[
        str, typer.Argument(help="api-stop, api-hang, partition, …; a wrong one lists them all.")
    ],
    lasting: Annotated[
        str, typer.Option("--for", metavar="T", help="Heal by itself after that time, such as 30s.")
    ] = "",
) -> None:
    """Break a cluster on purpose, until it is healed."""
    from isthmus.config.durations import parse_duration
    from isthmus.lab.faults.command import fault_named, inject
    from isthmus.lab.reference import find_cluster
    from isthmus.lab.up import require_root

    wanted = fault_named(kind)
    try:
        seconds = parse_duration(lasting) if lasting else None
    except ValueError as error:
        raise UserError(f"--for: {error}.", exit_code=2) from None
    require_root("fault")
    inject(find_cluster(cluster), wanted, seconds)
    end = f"It heals by itself after {lasting}" if lasting else "It lasts until you heal it"
    _say(f"Cluster {cluster}: {wanted.effect}. {end}: `isthmus lab heal {cluster}`.")


@app.command()
def heal(cluster: str) -> None:
    """End every fault of a cluster; does nothing where there is none."""
    from isthmus.lab.faults.command import heal as heal_cluster
    from isthmus.lab.reference import find_cluster
    from isthmus.lab.up import require_root

    require_root("heal")
    heal_cluster(find_cluster(cluster), _say)


@app.command()
def demo() -> None:
    """Show one mesh over two clusters, with measured times; the last line is JSON."""
    from isthmus.lab.demo.run import run_demo

    typer.echo(msgspec.json.encode(run_demo(_say)))
