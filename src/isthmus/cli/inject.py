"""`isthmus inject` and `isthmus uninject`: read files, call what changes them, write files."""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.places import OptionalContext
from isthmus.config.proxy import split_address
from isthmus.inject.settings import NativeSidecars
from isthmus.inject.sources import WITHOUT_CLUSTER, Source, settings_from, settings_in_cluster
from isthmus.inject.stream import inject_stream, uninject_stream
from isthmus.kube.access import Access, NoKubeconfigError, access_from_file
from isthmus.lib.errors import UserError

Filename = Annotated[
    str, typer.Option("--filename", "-f", help="YAML or JSON to change; - is standard input.")
]
Output = Annotated[str, typer.Option("--output", "-o", help="Where to write; - is standard output.")]
_NOWHERE = Source("", "the defaults")


def inject(
    filename: Filename,
    output: Output = "-",
    kubeconfig: Annotated[
        Path | None, typer.Option(help="The cluster whose ConfigMaps say how sidecars are.")
    ] = None,
    context: OptionalContext = None,
    istio_namespace: Annotated[
        str, typer.Option("--istio-namespace", "-i", help="Where these ConfigMaps are.")
    ] = "istio-system",
    mesh_config: Annotated[
        Path | None,
        typer.Option("--mesh-config", "--meshConfigFile", help="A file instead of ConfigMap istio."),
    ] = None,
    values_file: Annotated[
        Path | None,
        typer.Option(
            "--values-file", "--valuesFile", help="A file instead of ConfigMap istio-sidecar-injector."
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no cluster: what no file says is as by default.")
    ] = False,
    cluster_id: Annotated[str | None, typer.Option(help="The cluster that the pods will run in.")] = None,
    network: Annotated[str | None, typer.Option(help="Their network, if the mesh has several.")] = None,
    discovery_address: Annotated[
        str | None, typer.Option(help="Where the pods find the control plane: HOST:PORT.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="The sidecar's image.")] = None,
    native_sidecars: Annotated[
        NativeSidecars | None,
        typer.Option(
            help="Sidecars as init containers that run on (auto: of pods that end, such as a Job's)."
        ),
    ] = None,
) -> None:
    """Add the sidecar to the workloads of a YAML file, and print the whole file.

    How sidecars are is read from the cluster, unless files are given for both ConfigMaps, or --offline, or
    there is no kubeconfig at all: then they are as by default, and a note says so.
    """
    mesh, values = _source(mesh_config), _source(values_file)
    access = None if offline or (mesh and values) else _access(kubeconfig, context)
    if access is None:
        settings = settings_from(mesh or _NOWHERE, values or _NOWHERE)
    else:
        settings = asyncio.run(settings_in_cluster(access, istio_namespace, mesh=mesh, values=values))
    proxy_config = settings.proxy_config
    if discovery_address is not None:
        split_address(discovery_address, "--discovery-address")
        proxy_config = {**proxy_config, "discoveryAddress": discovery_address}
    chosen = replace(
        settings,
        image=image or settings.image,
        cluster_id=cluster_id or settings.cluster_id,
        network=settings.network if network is None else network,
        proxy_config=proxy_config,
        native_sidecars=native_sidecars or settings.native_sidecars,
    )
    _change(filename, output, lambda text, source: inject_stream(text, source, chosen, _note))


def uninject(filename: Filename, output: Output = "-") -> None:
    """Take the sidecar out of the workloads of a YAML file again, and print the whole file."""
    _change(filename, output, lambda text, source: uninject_stream(text, source, _note))


def _change(filename: str, output: str, change: Callable[[str, str], str]) -> None:
    """Write what `change` makes of the text and its name; nothing is written where it fails."""
    if filename == "-":
        text, source = _decode(sys.stdin.buffer.read(), "standard input"), "standard input"
    else:
        text, source = _read(Path(filename)), filename
    changed = change(text, source)
    if output == "-":
        sys.stdout.buffer.write(changed.encode())
        return
    try:
        _write(Path(output), changed.encode())
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}.") from error


def _write(file: Path, content: bytes) -> None:
    """A file becomes the new one as a whole or stays as it is; a pipe or a device is written to."""
    if file.exists() and not file.is_file():
        file.write_bytes(content)
        return
    target = file.resolve()
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        if target.exists():
            shutil.copymode(target, beside)
        beside.replace(target)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _access(kubeconfig: Path | None, context: str | None) -> Access | None:
    """The cluster to ask; None, and a note, where nobody named one and there is none."""
    try:
        return access_from_file(kubeconfig, context)
    except NoKubeconfigError as error:
        _note(f"{error} Until then sidecars are as by default; to ask no cluster, {WITHOUT_CLUSTER}.")
        return None
    except UserError as error:
        raise UserError(f"{error} To ask no cluster, {WITHOUT_CLUSTER}.") from error


def _source(file: Path | None) -> Source | None:
    return None if file is None else Source(_read(file), str(file))


def _note(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _read(file: Path) -> str:
    try:
        return _decode(file.read_bytes(), str(file))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; name a file that exists, or -.") from error


def _decode(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{source} is not UTF-8 text (byte {error.start}); YAML for Kubernetes is."
        ) from error
