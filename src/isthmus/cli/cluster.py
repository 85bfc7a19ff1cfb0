"""`isthmus cluster`: which clusters the mesh has, and how they come, stay and go."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.output import Output, check_format, plain, print_documents, print_row, print_rows
from isthmus.kube.access import Access, access_from_file
from isthmus.kube.client import running_client
from isthmus.lib.errors import UserError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The cluster's name in the mesh.")]
Kubeconfig = Annotated[
    Path | None, typer.Option(help="A kubeconfig with the contexts; else $KUBECONFIG, else ~/.kube/config.")
]
ControlContext = Annotated[
    str | None, typer.Option(help="The control plane's cluster; else the current context.")
]
ControlKubeconfig = Annotated[
    Path | None, typer.Option(help="Another kubeconfig for --control-context; else --kubeconfig.")
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Where the control plane runs.")]
Pilot = Annotated[
    str | None, typer.Option(help="Ask the control plane at http://HOST:PORT, not through the API server.")
]
ContextOption = Annotated[str, typer.Option(help="The kubeconfig's context of the cluster.")]
_CONTROL = "The control plane's cluster"
_JOINED = {"name": "NAME", "server": "SERVER", "secret": "SECRET", "account": "ACCOUNT", "expires": "EXPIRES"}
_LISTED = {"name": "NAME", "state": "STATE", "since": "SINCE", "reason": "REASON"}


@app.callback()
def cluster() -> None:
    """Join clusters to the mesh, look at them, rotate their tokens, and let them leave."""


@app.command()
def add(
    name: Name,
    context: ContextOption,
    kubeconfig: Kubeconfig = None,
    control_context: ControlContext = None,
    control_kubeconfig: ControlKubeconfig = None,
    namespace: Namespace = "istio-system",
    server: Annotated[
        str | None, typer.Option(help="The API server's URL as the control plane reaches it.")
    ] = None,
    rights: Annotated[
        str, typer.Option(help="What the control plane may do there.")
    ] = "read,authenticate,heal,renew",
    lifetime: Annotated[
        str, typer.Option("--token-lifetime", help="How long a token lasts, 10m at least.")
    ] = "24h",
    use_current_credentials: Annotated[
        bool, typer.Option("--use-current-credentials", help="Store the context's own credential.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, and print the objects as YAML.")] = False,
    output: Output = "table",
) -> None:
    """Join a cluster: an account of least rights, a token of it that expires, and the labelled Secret."""
    from isthmus.operate.asking import Site
    from isthmus.operate.credential import copied_credential, public_server
    from isthmus.operate.joining import Wish, check_wish, join, planned_objects
    from isthmus.operate.registration import check_name, secret_body
    from isthmus.operate.rights import parse_tiers

    check_format(output)
    check_name(name)
    operator = access_from_file(kubeconfig, context)
    wish = Wish(
        name=name,
        namespace=namespace,
        tiers=parse_tiers(rights),
        access=public_server(operator, server),
        seconds=_lifetime(lifetime),
        own_credential=use_current_credentials,
    )
    if use_current_credentials:
        copied_credential(name, wish.access)

    async def run() -> None:
        async with (
            _control(control_kubeconfig or kubeconfig, control_context) as control,
            running_client(operator) as client,
        ):
            remote = Site(f"context {context}", client)
            if dry_run:
                identity, _ = await check_wish(control, remote, wish)
                secret = secret_body(name, namespace, _hidden(wish.access), identity)
                planned: list[tuple[str, dict[str, Any]]] = [
                    (f"in the cluster of context {context}", body) for body in planned_objects(wish)
                ]
                print_documents(
                    [*planned, ("in the control plane's cluster; the credential is left out", secret)]
                )
                return
            joined = plain(await join(control, remote, wish))
            if output == "table":
                print_rows([joined], output, _JOINED)
            else:
                print_row(joined, output)

    asyncio.run(run())


@app.command(name="list")
def list_(
    kubeconfig: Kubeconfig = None,
    control_context: ControlContext = None,
    namespace: Namespace = "istio-system",
    pilot: Pilot = None,
    output: Output = "table",
) -> None:
    """List the clusters of the mesh and how each of them is."""
    check_format(output)
    rows = asyncio.run(_rows(kubeconfig, control_context, namespace, pilot))
    print_rows(rows, output, _LISTED)


@app.command()
def show(
    name: Name,
    kubeconfig: Kubeconfig = None,
    control_context: ControlContext = None,
    namespace: Namespace = "istio-system",
    pilot: Pilot = None,
    output: Output = "table",
) -> None:
    """Show all that is known of one cluster."""
    check_format(output)
    rows = asyncio.run(_rows(kubeconfig, control_context, namespace, pilot))
    found = [row for row in rows if row["name"] == name]
    if not found:
        known = ", ".join(row["name"] for row in rows) or "none"
        raise UserError(f"No cluster is called {name} (there is: {known}); name one of those.")
    for row in found:
        print_row(row, output)


@app.command()
def rotate(
    name: Name,
    context: Annotated[
        str | None, typer.Option(help="Who asks for the token; else the stored credential itself does.")
    ] = None,
    kubeconfig: Kubeconfig = None,
    control_context: ControlContext = None,
    control_kubeconfig: ControlKubeconfig = None,
    namespace: Namespace = "istio-system",
    token_lifetime: Annotated[str | None, typer.Option(help="How long it lasts; else as before.")] = None,
    output: Output = "table",
) -> None:
    """Give a cluster a new token; the old one stays good until its own end."""
    from isthmus.operate.rotation import rotate as rotate_token

    check_format(output)
    operator = access_from_file(kubeconfig, context) if context else None
    label = f"context {context}" if context else f"cluster {name}, by its stored credential"
    seconds = _lifetime(token_lifetime) if token_lifetime else None

    async def run() -> None:
        async with _control(control_kubeconfig or kubeconfig, control_context) as control:
            done = plain(
                await rotate_token(control, namespace, name, operator=operator, label=label, seconds=seconds)
            )
        if output == "table":
            print_rows([done], output, _JOINED)
        else:
            print_row(done, output)

    asyncio.run(run())


@app.command()
def remove(
    name: Name,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete the account and the rights in the cluster too.")
    ] = False,
    context: Annotated[str | None, typer.Option(help="The context of the cluster, for --purge.")] = None,
    kubeconfig: Kubeconfig = None,
    control_context: ControlContext = None,
    control_kubeconfig: ControlKubeconfig = None,
    namespace: Namespace = "istio-system",
    pilot: Pilot = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would disappear; change nothing.")
    ] = False,
) -> None:
    """Let a cluster leave the mesh. Says what will disappear, and asks."""
    from isthmus.operate.asking import Site
    from isthmus.operate.leaving import check_purge, leave
    from isthmus.operate.leaving import purge as purge_rights
    from isthmus.operate.listing import ask_pilot, make_rows
    from isthmus.operate.rotation import find_registration

    if purge and context is None:
        raise UserError("--purge needs --context, the cluster's own; name it.", exit_code=2)
    operator = access_from_file(kubeconfig, context) if context else None

    async def run() -> None:
        async with _control(control_kubeconfig or kubeconfig, control_context) as control:
            present = await find_registration(control, namespace, name)
            if operator is not None and purge:
                async with running_client(operator) as client:
                    await check_purge(Site(f"context {context}", client), present)
            rows = make_rows([present], await ask_pilot(control, namespace, pilot), namespace)
            row = next(row for row in rows if row.name == name and row.secret)
            _say_what_disappears(plain(row), purge)
            if dry_run:
                return
            if not yes:
                await asyncio.to_thread(_confirm, name)
            typer.echo(await leave(control, namespace, present))
            if operator is not None and purge:
                async with running_client(operator) as client:
                    remote = Site(f"context {context}", client)
                    for gone in await purge_rights(remote, namespace, present):
                        typer.echo(f"{gone} deleted")

    asyncio.run(run())


async def _rows(
    kubeconfig: Path | None, context: str | None, namespace: str, pilot: str | None
) -> list[dict[str, Any]]:
    from isthmus.operate.joining import read_joined
    from isthmus.operate.listing import ask_pilot, make_rows

    async with _control(kubeconfig, context) as control:
        joined = await read_joined(control, namespace)
        return plain(make_rows(joined, await ask_pilot(control, namespace, pilot), namespace))


@asynccontextmanager
async def _control(kubeconfig: Path | None, context: str | None) -> "AsyncGenerator[Any]":
    from isthmus.operate.asking import Site

    access = access_from_file(kubeconfig, context)
    async with running_client(access) as client:
        yield Site(f"{_CONTROL} ({f'context {context}' if context else 'current context'})", client)


def _hidden(access: Access) -> Any:
    """A credential that says where, and nothing secret: a token is made only as it is stored."""
    from isthmus.operate.credential import Credential, credential_of_token

    return Credential(credential_of_token("cluster", access, "LEFT-OUT"), access.server)


def _lifetime(text: str) -> int:
    from isthmus.config.durations import parse_duration

    try:
        found = parse_duration(text)
    except ValueError as error:
        raise UserError(f"--token-lifetime: {error}.", exit_code=2) from None
    if not timedelta(minutes=10) <= found <= timedelta(days=365):
        raise UserError(
            f"--token-lifetime is {text}; give at least 10m (Kubernetes' least) and at most 8760h.",
            exit_code=2,
        )
    return int(found.total_seconds())


def _say_what_disappears(row: dict[str, Any], purge: bool) -> None:
    counts = row["counts"]
    typer.echo(f"Cluster {row['name']} ({row['server'] or 'server unknown'}) leaves the mesh.")
    if counts:
        typer.echo(
            f"From every proxy disappear its endpoints: {counts['services']} services, "
            f"{counts['endpointSlices']} endpoint slices, {counts['pods']} pods."
        )
    else:
        typer.echo(
            f"From every proxy disappear all of its endpoints; how many is not known: {row['reason']}."
        )
    if purge:
        typer.echo("The reader's account and rights in it are deleted; every token of it ends at once.")
    elif row["account"]:
        typer.echo(f"Its account {row['account']} and its rights stay; --purge deletes them.")


def _confirm(name: str) -> None:
    if not sys.stdin.isatty():
        raise UserError("Nobody can be asked here; say --yes if it is meant.", exit_code=2)
    if not typer.confirm(f"Remove {name}?"):
        raise UserError("Nothing was changed.")
