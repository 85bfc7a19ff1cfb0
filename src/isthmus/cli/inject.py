"""`isthmus inject`: reads files, calls the injection, writes files."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from isthmus.config.proxy import split_address
from isthmus.inject.settings import CLUSTER_ID, IMAGE, InjectionSettings, default_proxy_config
from isthmus.inject.stream import inject_stream
from isthmus.lib.errors import UserError


def inject(
    filename: Annotated[str, typer.Option("--filename", "-f", help="YAML to inject; - is standard input.")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Where to write; - is standard output.")
    ] = "-",
    cluster_id: Annotated[str, typer.Option(help="The cluster that the pods will run in.")] = CLUSTER_ID,
    network: Annotated[str, typer.Option(help="Their network, if the mesh has several.")] = "",
    discovery_address: Annotated[
        str | None, typer.Option(help="Where the pods find the control plane: HOST:PORT.")
    ] = None,
    image: Annotated[str, typer.Option(help="The sidecar's image.")] = IMAGE,
    mesh_config: Annotated[
        Path | None,
        typer.Option("--mesh-config", "--meshConfigFile", help="Mesh config; its defaultConfig counts."),
    ] = None,
) -> None:
    """Add the sidecar to the workloads of a YAML file, and print the whole file."""
    proxy_config = default_proxy_config(_read(mesh_config), str(mesh_config)) if mesh_config else {}
    if discovery_address is not None:
        split_address(discovery_address, "--discovery-address")
        proxy_config = {**proxy_config, "discoveryAddress": discovery_address}
    settings = InjectionSettings(image, cluster_id, network, proxy_config)
    if filename == "-":
        text, source = _decode(sys.stdin.buffer.read(), "standard input"), "standard input"
    else:
        text, source = _read(Path(filename)), filename
    injected = inject_stream(text, source, settings, lambda sentence: typer.echo(sentence, err=True))
    if output == "-":
        sys.stdout.buffer.write(injected.encode())
        return
    try:
        Path(output).write_bytes(injected.encode())
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}.") from error


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
