"""`isthmus agent`: becomes the agent's own process, so that no pod keeps a command-line library in memory."""

import os
import sys
from typing import Annotated

import typer

app = typer.Typer()


@app.callback(invoke_without_command=True)
def agent(context: typer.Context) -> None:
    """Run Envoy in a pod (what istio-proxy runs); told by the environment that `isthmus inject` writes."""
    if context.invoked_subcommand is None:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "isthmus.apps.agent_process"])


@app.command()
def wait(
    timeout: Annotated[float, typer.Option(min=0, help="Seconds after which it gives up.")] = 60,
) -> None:
    """Wait until the agent of this container is ready (what holds the application back)."""
    from isthmus.agent.waiting import main

    main(timeout)
