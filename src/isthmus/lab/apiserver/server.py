"""The server's life: assemble and fill a cluster, bind, serve HTTPS until the block ends.

TLS asks for a client certificate but does not demand one. A certificate that the cluster's CA did not sign
ends the handshake, where Kubernetes would answer 401.
"""

import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web

from isthmus.kube.access import Access
from isthmus.lab import pki
from isthmus.lab.apiserver.bootstrap import bootstrap
from isthmus.lab.apiserver.cluster import Cluster, Settings, assemble
from isthmus.lab.apiserver.custom import running_custom_kinds
from isthmus.lab.apiserver.formats import LARGEST_BODY
from isthmus.lab.apiserver.handlers import Front
from isthmus.lab.apiserver.journal import running_journal
from isthmus.lab.apiserver.kubelet import running_kubelets
from isthmus.lab.apiserver.proxying import running_proxy
from isthmus.lab.plan import KUBELET_PORT

_LOOPBACK = IPv4Address("127.0.0.1")
_SERVICES = IPv4Network("10.96.0.0/16")
_BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers. `cluster` is its state, for those in the same process."""

    url: str
    files: pki.PkiFiles
    cluster: Cluster

    def access(self, identity: pki.Identity = pki.ADMIN) -> Access:
        """How to reach it as somebody, by default as the administrator; makes a new certificate."""
        return pki.access(self.files, identity, server=self.url)

    def kubeconfig(self, name: str, identity: pki.Identity = pki.ADMIN) -> bytes:
        """A kubeconfig for it, with inline data only."""
        return pki.kubeconfig(self.files, identity, cluster=name, server=self.url)


@asynccontextmanager
async def running_api_server(
    directory: Path | None = None,
    *,
    name: str = "test",
    address: IPv4Address = _LOOPBACK,
    port: int = 0,
    service_cidr: IPv4Network = _SERVICES,
    bookmark_seconds: float = 60.0,
    kubelet_port: int = KUBELET_PORT,
) -> AsyncGenerator[RunningServer]:
    """A whole API server in this process, by default on loopback, on any free port, and without a memory.

    With a `directory` (a CLUSTER_DIR), keys are in its `pki/` and state in its `data/`; both are made where
    they are missing, and kept.
    """
    with ExitStack() as stack:
        folder = directory or Path(stack.enter_context(TemporaryDirectory(prefix="isthmus-apiserver-")))
        files = pki.make_pki(
            folder / "pki", cluster=name, node_name=f"{name}-node", addresses=(address, service_cidr[1])
        )
        with socket.create_server((str(address), port), backlog=_BACKLOG) as listener:
            bound = listener.getsockname()[1]
            settings = Settings(files, service_cidr, address, bound, bookmark_seconds, kubelet_port)
            cluster = assemble(settings)
            data = folder / "data" / "journal" if directory is not None else None
            with running_journal(cluster.store, cluster.kinds, data):
                bootstrap(cluster)
                async with running_custom_kinds(cluster), _serving(cluster, listener):
                    yield RunningServer(f"https://{address}:{bound}", files, cluster)


@asynccontextmanager
async def _serving(cluster: Cluster, listener: socket.socket) -> AsyncGenerator[None]:
    settings = cluster.settings
    async with (
        running_kubelets(cluster.store, settings.pki, settings.kubelet_port) as kubelets,
        running_proxy(cluster.store) as proxy,
    ):
        front = Front(cluster, kubelets, proxy)
        application = web.Application(client_max_size=LARGEST_BODY)
        application.router.add_route("*", "/{path:.*}", front.handle)
        runner = web.AppRunner(application, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            site = web.SockSite(runner, listener, ssl_context=_tls(settings.pki), backlog=_BACKLOG)
            await site.start()
            yield
        finally:
            cluster.watches.close()
            await runner.cleanup()


def _tls(files: pki.PkiFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca_cert))
    context.load_cert_chain(files.cert("apiserver"), files.key("apiserver"))
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
