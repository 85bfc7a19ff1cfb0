"""Control planes under test: ours on an API server in memory, or one that runs already."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.children import running_child
from bench.cluster import change, empty, fill
from bench.measure import tell
from bench.plan import Push
from bench.tls import admit
from isthmus.kube.access import access_from_file
from isthmus.kube.client import Client, running_client


@dataclass(frozen=True, slots=True)
class Mesh:
    """What the control plane is to know: services, and endpoints of each in each cluster."""

    services: int
    endpoints: int


@dataclass(frozen=True, slots=True)
class Target:
    """A control plane: its plain or TLS xDS address, its processes, and what brings an address to proxies."""

    xds: str
    pids: tuple[int, ...]
    push: Push


@asynccontextmanager
async def running_pilot(mesh: Mesh, folder: Path, *, proving: int = 0) -> AsyncGenerator[Target]:
    """`isthmus pilot` on an API server in memory; `folder` is for their files.

    With `proving` its address is that of 15012, for so many proxies with what `folder/proxies` has.
    """
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_child("-m", "bench.api", str(folder)))
        kubeconfig = Path(await api.line())
        client = await stack.enter_async_context(running_client(access_from_file(kubeconfig)))
        await fill(client, 0, mesh.services, mesh.endpoints, with_addresses=True)
        tell(f"{mesh.services} services of {mesh.endpoints} endpoints are there")
        port, tls_port, log = free_port(), free_port(), folder / "pilot.log"
        pilot = await stack.enter_async_context(
            running_child(
                *("-m", "isthmus.cli.main", "pilot", "--kubeconfig", str(kubeconfig)),
                *("--namespace", "istio-system", "--xds-address", f"127.0.0.1:{port}"),
                *("--xds-tls-address", f"127.0.0.1:{tls_port}", "--http-address", "127.0.0.1:0"),
                *("--log-level", "warning"),
                log=log,
            )
        )
        await listening(port, log)
        if proving:
            await admit(client, proving, folder / "proxies")
        yield Target(f"127.0.0.1:{tls_port if proving else port}", (pilot.pid,), _pushing(client, mesh))


@asynccontextmanager
async def given(
    xds: str, pids: Sequence[int], kubeconfigs: Sequence[Path], mesh: Mesh
) -> AsyncGenerator[Target]:
    """A control plane that runs, and reads these clusters; what is made there is taken away again."""
    async with AsyncExitStack() as stack:
        accesses = [access_from_file(file) for file in kubeconfigs]
        clients = [await stack.enter_async_context(running_client(access)) for access in accesses]
        for index, client in enumerate(clients):
            stack.push_async_callback(empty, client)
            await fill(client, index, mesh.services, mesh.endpoints, with_addresses=False)
        yield Target(xds, tuple(pids), _pushing(clients[0], mesh))


def _pushing(client: Client, mesh: Mesh) -> Push:
    async def push(address: str) -> float:
        return (await change(client, 0, mesh.endpoints, address)).sent

    return push


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def listening(port: int, log: Path) -> None:
    """Wait until somebody listens on a port of loopback."""
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise RuntimeError(f"the control plane does not serve; its log ends: {log.read_text()[-2000:]}")
