"""The command `isthmus`: finds the subcommand, runs it, and turns errors into a sentence and an exit code.

Only the subcommand that is named is loaded: the agent beside every Envoy must not pay for the lab.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from isthmus import __version__
from isthmus.lib.errors import UserError

COMMANDS = {
    "pilot": ("isthmus.cli.pilot:pilot", "Run the control plane."),
    "policy": ("isthmus.cli.policy:app", "Answer Envoy whether requests are allowed."),
    "statsd-bridge": ("isthmus.cli.statsd_bridge:statsd_bridge", "Statsd in, Prometheus out."),
    "inject": ("isthmus.cli.inject:inject", "Add the sidecar to the workloads of a YAML file."),
    "cluster": ("isthmus.cli.cluster:app", "Join clusters to the mesh, look at them, let them leave."),
    "uninject": ("isthmus.cli.inject:uninject", "Take the sidecar out of them again."),
    "ca": ("isthmus.cli.ca:app", "Look at the mesh's CA, rotate its root."),
    "mtls": ("isthmus.cli.mtls:mtls", "Show what workloads accept, and which objects say so."),
    "preflight": ("isthmus.cli.preflight:preflight", "Check whether clusters can make one mesh."),
    "install": ("isthmus.cli.install:install", "Install or upgrade the control plane, by helm."),
    "remote": ("isthmus.cli.install:remote", "The control plane's part in remote clusters, by helm."),
    "uninstall": ("isthmus.cli.install:uninstall", "Uninstall the control plane, by helm."),
    "lab": ("isthmus.cli.lab:app", "Whole clusters on this machine."),
    "agent": ("isthmus.cli.agent:app", "Run Envoy in a pod (what istio-proxy runs)."),
    "init": ("isthmus.cli.init:init", "Redirect a pod's traffic to Envoy (what istio-init runs)."),
}
"""Name → (module:object, help). The object is a Typer application or the function of one command."""
ALIASES = {"kube-inject": "inject"}
_UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What becomes of standard output: its reader is gone, its disk is full or broken."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"isthmus {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """A service-mesh control plane for Envoy that joins Kubernetes clusters into one mesh."""


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application for these arguments: with the one subcommand they name, else with all of them."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_options)
    named = arguments[0] if arguments else ""
    wanted = (
        {named: COMMANDS[ALIASES.get(named, named)]} if ALIASES.get(named, named) in COMMANDS else COMMANDS
    )
    for name, (place, text) in wanted.items():
        module, _, attribute = place.partition(":")
        found: typer.Typer | Callable[..., None] = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, help=text)
        else:
            app.command(name, help=found.__doc__ or text, short_help=text)(found)
    return app


def main() -> NoReturn:
    """Run the command line; every way out sets an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character shows `?`
            stream.reconfigure(errors="replace")
    try:
        sys.exit(_run(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer goes nowhere
        if error.errno != errno.EPIPE:
            typer.echo(f"isthmus: The output could not be written: {error.strerror}.", err=True)
        sys.exit(1)


def _run(arguments: Sequence[str]) -> int:
    try:
        build(arguments)()
    except UserError as error:
        typer.echo(f"isthmus: {error}", err=True)
        return error.exit_code
    finally:
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    main()
