"""`isthmus ca`: look at the mesh's certificate authority, and rotate its root."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from isthmus.ca.administration import Status, read_status, want_rotation
from isthmus.cli.places import Kubeconfig, Namespace, OptionalContext
from isthmus.kube.access import access_from_file
from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lib.errors import UserError

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True)


@app.command()
def status(
    kubeconfig: Kubeconfig = None,
    context: OptionalContext = None,
    namespace: Namespace = "istio-system",
    output: Annotated[str, typer.Option("--output", "-o", help="text or json.")] = "text",
) -> None:
    """Show which roots are trusted, which one signs, and where a rotation stands."""
    if output not in ("text", "json"):
        raise UserError(f"--output is {output!r}; write text or json.", exit_code=2)
    found = _at(kubeconfig, context, lambda client: read_status(client, namespace, datetime.now(UTC)))
    typer.echo(json.dumps(_plain(found)) if output == "json" else _text(found))


@app.command()
def rotate(
    kubeconfig: Kubeconfig = None, context: OptionalContext = None, namespace: Namespace = "istio-system"
) -> None:
    """Ask the control plane for a new root: first it is trusted, then it signs, then the old one goes."""
    _at(kubeconfig, context, lambda client: want_rotation(client, namespace, time.time()))
    typer.echo("A rotation is asked for. `isthmus ca status` shows how far it is.")


def _at(kubeconfig: Path | None, context: str | None, ask: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        async with running_client(access_from_file(kubeconfig, context)) as client:
            return await ask(client)

    try:
        return asyncio.run(run())
    except ApiError as error:
        raise UserError(f"The API server refuses: {error}; use an account that may.") from error
    except Unreachable as error:
        raise UserError(f"The API server cannot be reached: {error.reason}; check --kubeconfig.") from error


def _plain(found: Status) -> dict[str, object]:
    return {
        "secret": found.secret,
        "phase": found.phase.value if found.phase else "operator",
        "nextStep": _time(found.next_step),
        "rotationWanted": found.rotation_wanted,
        "roots": [
            {
                "subject": one.subject,
                "serial": one.serial,
                "expires": one.expires.isoformat(),
                "signs": one.signs,
            }
            for one in found.roots
        ],
    }


def _text(found: Status) -> str:
    phase = found.phase.value if found.phase else "the operator's own"
    lines = [f"Secret {found.secret}: {phase}"]
    if found.next_step is not None:
        lines.append(f"next step at {_time(found.next_step)}")
    if found.rotation_wanted:
        lines.append("a rotation is asked for; the control plane has not begun it")
    for one in found.roots:
        role = "signs" if one.signs else "trusted"
        lines.append(f"{role:8} {one.subject}  serial {one.serial}  until {one.expires:%Y-%m-%d}")
    return "\n".join(lines)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
