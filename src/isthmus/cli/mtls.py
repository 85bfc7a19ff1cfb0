"""`isthmus mtls`: what workloads accept, and which PeerAuthentication says so."""

import asyncio
from typing import Annotated

import msgspec
import typer

from isthmus.cli.output import Output, check_format, plain, print_rows
from isthmus.cli.places import ControlContext, Kubeconfig, Namespace, control_site
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lib.errors import UserError
from isthmus.operate.pages import read_page

_PAGE = "/debug/mtlsz"
_COLUMNS = {
    "cluster": "CLUSTER",
    "namespace": "NAMESPACE",
    "workload": "WORKLOAD",
    "pods": "PODS",
    "accepts": "ACCEPTS",
    "by": "BY",
}


class _Row(msgspec.Struct):
    """One row of the control plane's page."""

    cluster: str
    namespace: str
    workload: str
    pods: int
    sidecar: bool
    mode: str
    ports: dict[str, str]
    by: str
    applied: list[str]

    @property
    def accepts(self) -> str:
        """In words: the mode, and the ports that differ."""
        said = ", ".join([self.mode, *(f"{port} {mode}" for port, mode in self.ports.items())])
        return (
            said if self.sidecar else f"{'nothing' if self.mode == 'STRICT' else 'plain text'} (no sidecar)"
        )


def mtls(
    workloads_of: Annotated[str, typer.Argument(metavar="[NAMESPACE]", help="Only its workloads.")] = "",
    kubeconfig: Kubeconfig = None,
    control_context: ControlContext = None,
    namespace: Namespace = "istio-system",
    output: Output = "table",
) -> None:
    """Show what each workload accepts, mutual TLS or plain text, and the PeerAuthentications that say so."""
    check_format(output)

    async def read() -> bytes:
        async with control_site(kubeconfig, control_context) as control:
            return await read_page(control, namespace, _PAGE)

    try:
        found = msgspec.json.decode(asyncio.run(read()), type=list[_Row])
    except (ApiError, Unreachable, msgspec.DecodeError) as error:
        raise UserError(
            f"The control plane in namespace {namespace} cannot be asked: {error}; check --control-context "
            "and --namespace."
        ) from error
    rows = [one for one in found if workloads_of in ("", one.namespace)]
    if workloads_of and not rows:
        raise UserError(f"The mesh has no workload in namespace {workloads_of}; check the name.")
    shown = [
        {**plain(one), "accepts": one.accepts, "by": one.by or "the default"}
        if output == "table"
        else plain(one)
        for one in rows
    ]
    print_rows(shown, output, _COLUMNS)
