"""`isthmus cluster`: which clusters the mesh has, and how they come, stay and go."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.cluster_drain import Name, drain, undrain
from isthmus.cli.output import Output, ask, check_format, plain, print_documents, print_row, print_rows
from isthmus.cli.places import (
    Context,
    ControlContext,
    ControlKubeconfig,
    Kubeconfig,
    Namespace,
    OptionalContext,
    Pilot,
    context_site,
    control_site,
)
from isthmus.config.durations import parse_duration
from isthmus.kube.access import access_from_file
from isthmus.lib.errors import UserError
from isthmus.operate import joining, leaving, listing, rotation
from isthmus.operate.credential import copied_credential, public_server
from isthmus.operate.registration import check_name
from isthmus.operate.rights import parse_tiers

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(drain)
app.command()(undrain)

Unreachable = Annotated[
    bool,
    typer.Option(
        "--server-unreachable", help="Only the control plane reaches the server; try the context's."
    ),
]
_JOINED = {"name": "NAME", "server": "SERVER", "secret": "SECRET", "account": "ACCOUNT", "expires": "EXPIRES"}
_LISTED = {"name": "NAME", "state": "STATE", "since": "SINCE", "drain": "DRAIN", "reason": "REASON"}
_SHORTEST, _LONGEST = timedelta(minutes=10), timedelta(days=365)


@app.callback()
def cluster() -> None:
    """Join clusters to the mesh, look at them, rotate their tokens, drain them, and let them leave."""


@app.command()
def add(
    name: Name,
    context: Context,
    kubeconfig: Kubeconfig = None,
    control_context: ControlContext = None,
    control_kubeconfig: ControlKubeconfig = None,
    namespace: Namespace = "istio-system",
    server: Annotated[
        str | None, typer.Option(help="The API server's URL as the control plane reaches it.")
    ] = None,
    server_unreachable: Unreachable = False,
    rights: Annotated[
        str, typer.Option(help="What the control plane may do there.")
    ] = "read,authenticate,heal,renew",
    lifetime: Annotated[
        str, typer.Option("--token-lifetime", help="How long a token lasts, 10m at least.")
    ] = "24h",
    use_current_credentials: Annotated[
        bool, typer.Option("--use-current-credentials", help="Store the context's own credential.")
    ] = False,
    allow_different: Annotated[
        bool,
        typer.Option("--allow-different-cluster", help="Put it in the place of the cluster of that name."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, and print the objects as YAML.")] = False,
    output: Output = "table",
) -> None:
    """Join a cluster: an account of least rights, a token of it that expires, and the labelled Secret."""
    check_format(output)
    check_name(name)
    operator = access_from_file(kubeconfig, context)
    wish = joining.Wish(
        name=name,
        namespace=namespace,
        tiers=parse_tiers(rights),
        access=public_server(operator, server),
        seconds=_seconds(lifetime),
        own_credential=use_current_credentials,
        tried_at=operator if server_unreachable else None,
        allow_different=allow_different,
    )
    if use_current_credentials:
        copied_credential(name, wish.access)

    async def run() -> None:
        async with (
            control_site(control_kubeconfig or kubeconfig, control_context) as control,
            context_site(kubeconfig, context) as remote,
        ):
            if dry_run:
                identity, _ = await joining.check_wish(control, remote, wish)
                where = f"in the cluster of context {context}"
                bodies = [(where, body) for body in joining.planned_objects(wish)]
                home = "in the control plane's cluster"
                beside = [(home, body) for body in joining.planned_beside(wish)]
                secret = joining.planned_secret(wish, identity)
                print_documents([*bodies, *beside, (f"{home}; `data` is left out", secret)])
            else:
                _print_joined(await joining.join(control, remote, wish), output)

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
    found = next((row for row in rows if row["name"] == name), None)
    if found is None:
        known = ", ".join(row["name"] for row in rows) or "none"
        raise UserError(f"No cluster is called {name} (there is: {known}); name one of those.")
    print_row(found, output)


@app.command()
def rotate(
    name: Name,
    context: OptionalContext = None,
    kubeconfig: Kubeconfig = None,
    control_context: ControlContext = None,
    control_kubeconfig: ControlKubeconfig = None,
    namespace: Namespace = "istio-system",
    lifetime: Annotated[
        str | None, typer.Option("--token-lifetime", help="How long it lasts; else as before.")
    ] = None,
    server_unreachable: Unreachable = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, and print the Secret as YAML without its data.")
    ] = False,
    output: Output = "table",
) -> None:
    """Give a cluster a new token; the old one stays good until its own end.

    It is asked for with --context's credential, else with the stored one, which may where it has tier renew.
    """
    check_format(output)
    operator = access_from_file(kubeconfig, context) if context else None
    label = f"context {context}" if context else f"cluster {name}, by its stored credential"
    seconds = _seconds(lifetime) if lifetime else None
    if server_unreachable and operator is None:
        raise UserError(
            "--server-unreachable needs --context, where the token is tried; name it.", exit_code=2
        )

    async def run() -> None:
        async with control_site(control_kubeconfig or kubeconfig, control_context) as control:
            if dry_run:
                secret = await rotation.planned_secret(control, namespace, name, seconds)
                print_documents([("in the control plane's cluster; `data` is left out", secret)])
                return
            done = await rotation.rotate(
                control,
                namespace,
                name,
                operator=operator,
                label=label,
                seconds=seconds,
                untried=server_unreachable,
            )
            _print_joined(done, output)

    asyncio.run(run())


@app.command()
def remove(
    name: Name,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete the account and the rights in the cluster too.")
    ] = False,
    context: OptionalContext = None,
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
    if purge and context is None:
        raise UserError("--purge needs --context, the cluster's own; name it.", exit_code=2)

    async def run() -> None:
        async with control_site(control_kubeconfig or kubeconfig, control_context) as control:
            present = await rotation.find_registration(control, namespace, name)
            if purge:
                async with context_site(kubeconfig, context) as remote:
                    await leaving.check_purge(remote, present)
            reported = await listing.ask_pilot(control, namespace, pilot)
            rows = listing.make_rows([present], reported, namespace)
            _say_what_disappears(next(row for row in rows if row.name == name and row.secret), purge)
            if dry_run:
                return
            if not yes:
                await asyncio.to_thread(ask, f"Remove {name}?")
            typer.echo(await leaving.leave(control, namespace, present))
            if purge:
                async with context_site(kubeconfig, context) as remote:
                    for gone in await leaving.purge(remote, namespace, present):
                        typer.echo(f"{gone} deleted")

    asyncio.run(run())


async def _rows(
    kubeconfig: Path | None, context: str | None, namespace: str, pilot: str | None
) -> list[dict[str, Any]]:
    async with control_site(kubeconfig, context) as control:
        joined = await joining.read_joined(control, namespace)
        reported = await listing.ask_pilot(control, namespace, pilot)
    return plain(listing.make_rows(joined, reported, namespace))


def _seconds(lifetime: str) -> int:
    try:
        found = parse_duration(lifetime)
    except ValueError as error:
        raise UserError(f"--token-lifetime: {error}.", exit_code=2) from None
    if not _SHORTEST <= found <= _LONGEST:
        raise UserError(
            f"--token-lifetime is {lifetime}; give at least 10m (Kubernetes' least) and at most 8760h.",
            exit_code=2,
        )
    return int(found.total_seconds())


def _print_joined(joined: joining.Joined, output: str) -> None:
    if output == "table":
        print_rows([plain(joined)], output, _JOINED)
    else:
        print_row(plain(joined), output)


def _say_what_disappears(row: listing.Row, purge: bool) -> None:
    typer.echo(f"Cluster {row.name} ({row.server or 'server unknown'}) leaves the mesh.")
    if row.counts is not None:
        typer.echo(
            f"From every proxy disappear its endpoints: {row.counts.services} services, "
            f"{row.counts.endpoint_slices} endpoint slices, {row.counts.pods} pods."
        )
    else:
        typer.echo(f"From every proxy disappear all of its endpoints. How many is not known: {row.reason}.")
    if not row.drain.startswith("drained"):
        typer.echo(f"Its traffic moves all at once; `isthmus cluster drain {row.name}` shifts it first.")
    if purge:
        typer.echo("The reader's account and rights in it are deleted; every token of it ends at once.")
    elif row.account:
        typer.echo(f"Its account {row.account} and its rights stay; --purge deletes them.")
