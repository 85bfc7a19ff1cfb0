"""Options that say where: which kubeconfig, which cluster, which namespace; for an operator's commands."""

import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
import yaml

from isthmus.kube.access import access_from_file
from isthmus.kube.client import running_client
from isthmus.lib.errors import UserError
from isthmus.operate.asking import Site


def complete_context(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Contexts of the kubeconfigs that are named, or of the usual one; none of a file that is no good."""
    named: object = ctx.params.get("kubeconfig") or os.environ.get("KUBECONFIG") or "~/.kube/config"
    return [
        name
        for path in str(named).split(os.pathsep)
        for name in _contexts(Path(path).expanduser())
        if name.startswith(incomplete)
    ]


def _contexts(path: Path) -> list[str]:
    try:
        return [str(one["name"]) for one in yaml.safe_load(path.read_text())["contexts"]]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return []


Kubeconfig = Annotated[
    Path | None, typer.Option(help="A kubeconfig with the contexts; else $KUBECONFIG, else ~/.kube/config.")
]
Context = Annotated[
    str, typer.Option(help="The kubeconfig's context of the cluster.", autocompletion=complete_context)
]
OptionalContext = Annotated[
    str | None, typer.Option(help="The kubeconfig's context of the cluster.", autocompletion=complete_context)
]
ControlContext = Annotated[
    str | None,
    typer.Option(
        help="The control plane's cluster; else the current context.", autocompletion=complete_context
    ),
]
ControlKubeconfig = Annotated[
    Path | None, typer.Option(help="Another kubeconfig for --control-context; else --kubeconfig.")
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Where the control plane runs.")]
Pilot = Annotated[
    str | None, typer.Option(help="Ask the control plane at http://HOST:PORT, not through the API server.")
]


@asynccontextmanager
async def control_site(kubeconfig: Path | None, context: str | None) -> AsyncGenerator[Site]:
    """The control plane's cluster."""
    access = access_from_file(kubeconfig, context)
    which = f"context {context}" if context else "the current context"
    async with running_client(access) as client:
        yield Site(f"The control plane's cluster ({which})", client)


@asynccontextmanager
async def context_site(kubeconfig: Path | None, context: str | None) -> AsyncGenerator[Site]:
    """The cluster of a context that was named. Raises UserError (usage) where none was."""
    if context is None:
        raise UserError("--context is missing; name the cluster's own.", exit_code=2)
    async with running_client(access_from_file(kubeconfig, context)) as client:
        yield Site(f"context {context}", client)
