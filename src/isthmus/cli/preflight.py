"""`isthmus preflight`: can these clusters make one mesh, and if not, why and what to do."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from isthmus import __version__
from isthmus.cli.output import Output, check_format, plain, print_rows
from isthmus.cli.places import complete_context
from isthmus.kube.access import Access, access_from_file
from isthmus.kube.client import running_client
from isthmus.operate.preflight.checks import check
from isthmus.operate.preflight.collecting import collect
from isthmus.operate.preflight.facts import Probes
from isthmus.operate.preflight.findings import Finding, Level
from isthmus.operate.preflight.helm import find_helm, read_helm
from isthmus.operate.preflight.probing import Member, probe
from isthmus.operate.preflight.ranges import given_ranges

_UNTRIED = Probes(skipped="it makes pods, which only --probe allows")


def preflight(
    contexts: Annotated[
        list[str],
        typer.Argument(
            metavar="CONTEXT…",
            help="Clusters, as CONTEXT or NAME=CONTEXT.",
            autocompletion=complete_context,
        ),
    ],
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="A kubeconfig with the contexts; else $KUBECONFIG, else ~/.kube/config."),
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="The control plane's cluster, as above; else the first one.")
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Where the control plane runs or will.")
    ] = "istio-system",
    pod_cidr: Annotated[
        list[str] | None, typer.Option(help="CLUSTER=CIDR where it cannot be found; may be repeated.")
    ] = None,
    service_cidr: Annotated[list[str] | None, typer.Option(help="CLUSTER=CIDR, likewise.")] = None,
    with_probe: Annotated[
        bool, typer.Option("--probe", help="Try the network by short-lived pods in each cluster.")
    ] = False,
    probe_image: Annotated[
        str, typer.Option(help="Their image; it needs python3.")
    ] = f"isthmus/pilot:{__version__}",
    probe_namespace: Annotated[str, typer.Option(help="Where they run.")] = "default",
    output: Output = "table",
) -> None:
    """Check whether clusters can make one mesh. Changes nothing, but for --probe's pods, which go again.

    Ends with code 1 if anything is an error.
    """
    check_format(output)
    wanted = [*([control] if control and control not in contexts else []), *contexts]
    members = [_named(text, kubeconfig) for text in wanted]
    control_name = _name(control or wanted[0])
    names = [name for name, _ in members]
    pods = given_ranges(pod_cidr or (), "--pod-cidr", names)
    services = given_ranges(service_cidr or (), "--service-cidr", names)

    async def run() -> list[Finding]:
        facts = await asyncio.gather(
            *(
                collect(
                    name,
                    access,
                    namespace=namespace,
                    control=name == control_name,
                    pods=pods.get(name, ()),
                    services=services.get(name, ()),
                )
                for name, access in members
            )
        )
        able = [pair for pair, one in zip(members, facts, strict=True) if not one.trouble]
        probes = _UNTRIED
        if with_probe:
            probes = await _probe(able, control_name, probe_namespace, probe_image)
        return check(facts, control_name, probes, await read_helm(find_helm()))

    findings = asyncio.run(run())
    _print(findings, output)
    if any(one.level is Level.ERROR for one in findings):
        raise typer.Exit(1)


async def _probe(members: Sequence[tuple[str, Access]], control: str, namespace: str, image: str) -> Probes:
    async with AsyncExitStack() as stack:
        clients = [
            Member(name, await stack.enter_async_context(running_client(access)), access.server)
            for name, access in members
        ]
        return await probe(clients, control, namespace=namespace, image=image)


def _name(text: str) -> str:
    return text.partition("=")[0]


def _named(text: str, kubeconfig: Path | None) -> tuple[str, Access]:
    name, equals, context = text.partition("=")
    return name, access_from_file(kubeconfig, context if equals else name)


def _print(findings: Sequence[Finding], output: str) -> None:
    if output != "table":
        print_rows([plain(one) for one in findings], output, {})
        return
    for one in findings:
        where = f" [{', '.join(one.clusters)}]" if one.clusters else ""
        typer.echo(f"{one.level.value.upper():8}{one.id}{where}: {one.what}")
        if one.why:
            typer.echo(f"{'':8}  why: {one.why}")
        if one.remedy:
            typer.echo(f"{'':8}  do:  {one.remedy}")
    count = {level: sum(one.level is level for one in findings) for level in Level}
    typer.echo(", ".join(f"{number} {level.value}" for level, number in count.items() if number))
