"""`python -m bench`: measure a control plane from outside; JSON on standard output, progress on standard
error.

Without `--xds` it brings up an API server in memory and `isthmus pilot` on it. With `--xds`, give the
kubeconfigs of the clusters that the control plane reads and the ids of its processes.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.children import running_child
from bench.cluster import change, empty, fill
from bench.measure import compare, tell
from bench.plan import Plan
from bench.tls import admit
from isthmus.kube.access import access_from_file
from isthmus.kube.client import Client, running_client


@dataclass(frozen=True, slots=True)
class Target:
    """A control plane under test."""

    xds: str
    pids: tuple[int, ...]
    clients: tuple[Client, ...]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--xds", metavar="HOST:PORT", help="plain-text xDS of a running control plane")
    parser.add_argument(
        "--kubeconfig", type=Path, action="append", default=[], help="a cluster that it reads"
    )
    parser.add_argument(
        "--pid", type=int, action="append", default=[], help="a process of it, for CPU and memory"
    )
    parser.add_argument("--cluster", default="Kubernetes", help="CLUSTER_ID that proxies give")
    parser.add_argument("--services", type=int, default=500)
    parser.add_argument("--endpoints", type=int, default=10, help="per service and cluster")
    parser.add_argument("--proxies", type=int, default=1000)
    parser.add_argument("--form", choices=("sotw", "delta"), default="sotw")
    parser.add_argument("--changes", type=int, default=15)
    parser.add_argument(
        "--tls", action="store_true", help="proxies that prove who they are, on 15012's terms"
    )
    parser.add_argument("--storm", type=int, default=0, help="how many more connect at once in the end")
    return parser.parse_args()


@asynccontextmanager
async def _running_ours(options: argparse.Namespace, folder: Path) -> AsyncGenerator[Target]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_child("-m", "bench.api", str(folder)))
        kubeconfig = Path(await api.line())
        client = await stack.enter_async_context(running_client(access_from_file(kubeconfig)))
        await fill(client, 0, options.services, options.endpoints, with_addresses=True)
        tell(f"{options.services} services of {options.endpoints} endpoints are there")
        port, tls_port = free_port(), free_port()
        log = folder / "pilot.log"
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
        if options.tls:
            await admit(client, options.proxies + options.storm, folder / "proxies")
            port = tls_port
        yield Target(f"127.0.0.1:{port}", (pilot.pid,), (client,))


@asynccontextmanager
async def _given(options: argparse.Namespace) -> AsyncGenerator[Target]:
    async with AsyncExitStack() as stack:
        accesses = [access_from_file(file) for file in options.kubeconfig]
        clients = tuple([await stack.enter_async_context(running_client(access)) for access in accesses])
        for index, client in enumerate(clients):
            stack.push_async_callback(empty, client)
            await fill(client, index, options.services, options.endpoints, with_addresses=False)
        yield Target(options.xds, tuple(options.pid), clients)


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def listening(port: int, log: Path) -> None:
    """Wait until somebody listens on a port of loopback."""
    for _ in range(300):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise RuntimeError(f"the control plane does not serve; its log ends: {log.read_text()[-2000:]}")


async def _run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = _given(options) if options.xds else _running_ours(options, folder)
        async with target as under_test:
            plan = Plan(
                options.form,
                options.proxies,
                options.changes,
                options.cluster,
                storm=options.storm,
                tls=str(folder / "proxies") if options.tls else "",
            )

            async def push(address: str) -> float:
                return (await change(under_test.clients[0], 0, options.endpoints, address)).sent

            result = await compare(under_test.xds, under_test.pids, plan, push, folder)
    print(json.dumps({"services": options.services, "endpoints": options.endpoints, **result}, indent=2))


def main() -> None:
    """See the module."""
    options = _arguments()
    if options.xds and not (options.kubeconfig and options.pid):
        sys.exit("--xds needs --kubeconfig and --pid: what to change, and whose cost to count.")
    if options.xds and options.tls:
        sys.exit("--tls is for the pilot that this brings up; leave --xds out.")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_run(options))


if __name__ == "__main__":
    main()
