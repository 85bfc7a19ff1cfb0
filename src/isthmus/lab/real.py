"""The real etcd, kube-apiserver and kube-controller-manager, in place of the lab's own parts.

They come from the folder that KUBEBUILDER_ASSETS names, and run at the same addresses with the same keys.
They are told nothing that kubeadm would not tell them, but for etcd's: it syncs nothing, since a lab is
thrown away. Where the folder has no kube-controller-manager, as envtest's has none, the lab's own
controllers serve the real server.
Source of the flags: the Kubernetes 1.36 command line reference, and etcd 3.6's configuration options.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from isthmus.kube.access import Access, access_from_file
from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lab import pki
from isthmus.lab.apiserver.tokens import ISSUER
from isthmus.lab.assets import API_SERVER, CONTROLLER_MANAGER, ETCD, Assets, check_versions
from isthmus.lab.plan import API_PORT, ClusterPlan
from isthmus.lab.programs import Program, running_programs
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import stop_signal

READY_WITHIN = 120.0
"""Seconds for a server, or its controllers, to be ready: three clusters may start at once on two cores."""
_ETCD_PORTS = (2379, 2380)
_ASK_EVERY = 0.2
_WORKS = "/api/v1/namespaces/default/services/kubernetes"
"""It exists when Services can have addresses: a moment after the server says that it is ready."""
_CONTROLLED = ("serviceaccounts/default", "configmaps/kube-root-ca.crt")
"""What controllers give every namespace, and pods cannot be without."""


@dataclass(frozen=True, slots=True)
class RealServer:
    """Where one real API server runs. `etcd_ports`: for clients and for peers, on loopback."""

    directory: Path
    address: IPv4Address
    port: int
    service_cidr: IPv4Network
    etcd_ports: tuple[int, int] = _ETCD_PORTS

    @property
    def url(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:{self.port}"

    @property
    def files(self) -> pki.PkiFiles:
        """Its keys."""
        return pki.PkiFiles(self.directory / "pki")

    def access(self, identity: pki.Identity = pki.ADMIN) -> Access:
        """How to reach it as somebody; makes a new certificate."""
        return pki.access(self.files, identity, server=self.url)


def etcd_command(server: RealServer, assets: Assets) -> list[str]:
    """The command line of etcd, one member, plain HTTP on loopback."""
    client, peer = (f"http://127.0.0.1:{port}" for port in server.etcd_ports)
    return [
        assets.program(ETCD),
        "--name=lab",
        f"--data-dir={server.directory / 'data' / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=lab={peer}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
    ]


def api_server_command(server: RealServer, assets: Assets) -> list[str]:
    """The command line of kube-apiserver; admission plug-ins are those on by default."""
    files = server.files
    kubelet_client = "apiserver-kubelet-client"
    return [
        assets.program(API_SERVER),
        f"--etcd-servers=http://127.0.0.1:{server.etcd_ports[0]}",
        f"--bind-address={server.address}",
        f"--advertise-address={server.address}",
        f"--secure-port={server.port}",
        f"--tls-cert-file={files.cert('apiserver')}",
        f"--tls-private-key-file={files.key('apiserver')}",
        f"--client-ca-file={files.ca_cert}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={server.service_cidr}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={files.service_account_public}",
        f"--service-account-signing-key-file={files.service_account_key}",
        f"--kubelet-certificate-authority={files.ca_cert}",
        f"--kubelet-client-certificate={files.cert(kubelet_client)}",
        f"--kubelet-client-key={files.key(kubelet_client)}",
        "--kubelet-preferred-address-types=InternalIP,Hostname",
        "--profiling=false",
    ]


def controllers_command(plan: ClusterPlan, directory: Path, assets: Assets) -> list[str]:
    """The command line of kube-controller-manager.

    All controllers that are on by default: those that need a cloud, a signing key or node CIDRs leave
    themselves out, since none is given. It serves no port: to guard one it would have to read a ConfigMap
    that a new cluster does not have yet, and ends where that is missing.
    """
    files, kubeconfig = pki.PkiFiles(directory / "pki"), directory / "controllers.kubeconfig"
    return [
        assets.program(CONTROLLER_MANAGER),
        f"--kubeconfig={kubeconfig}",
        "--secure-port=0",
        f"--cluster-name={plan.name}",
        "--controllers=*",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--allocate-node-cidrs=false",
        f"--service-cluster-ip-range={plan.service_cidr}",
        f"--root-ca-file={files.ca_cert}",
        f"--service-account-private-key-file={files.service_account_key}",
        "--profiling=false",
    ]


@asynccontextmanager
async def running_real_server(server: RealServer, assets: Assets) -> AsyncGenerator[RealServer]:
    """etcd and kube-apiserver, ready; should one end by itself, the block fails with UserError.

    The keys must be there. kube-apiserver is stopped before its etcd.
    """
    await check_versions(assets)
    (server.directory / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
    commands = etcd_command(server, assets), api_server_command(server, assets)
    async with running_programs(*commands) as (_, program):
        async with running_client(server.access()) as client:
            await _until(program, lambda: _has(client, "/readyz", _WORKS))
        yield server


async def serve_real_api_server(plan: ClusterPlan, directory: Path, assets: Assets, ready: Path) -> None:
    """Run the cluster's real API server until SIGTERM; `ready` exists while it serves."""
    stop = stop_signal()
    server = RealServer(directory, plan.node_address, API_PORT, plan.service_cidr)
    async with running_real_server(server, assets):
        await _stay(ready, stop)


async def run_real_controllers(plan: ClusterPlan, directory: Path, assets: Assets) -> None:
    """Run the cluster's real kube-controller-manager until SIGTERM; UserError where it ends by itself."""
    stop = stop_signal()
    paths = [f"/api/v1/namespaces/default/{each}" for each in _CONTROLLED]
    async with running_programs(controllers_command(plan, directory, assets)) as (program,):
        async with running_client(access_from_file(directory / "kubeconfig")) as client:
            await _until(program, lambda: _has(client, *paths))
        await _stay(directory / "run" / "controllers.ready", stop)


async def _stay(ready: Path, stop: asyncio.Event) -> None:
    ready.parent.mkdir(parents=True, exist_ok=True)
    ready.touch()
    try:
        await stop.wait()
    finally:
        ready.unlink(missing_ok=True)


async def _until(program: Program, is_ready: Callable[[], Awaitable[bool]]) -> None:
    try:
        async with asyncio.timeout(READY_WITHIN):
            while not await is_ready():  # noqa: ASYNC110 - another process's state can only be polled
                await asyncio.sleep(_ASK_EVERY)
    except TimeoutError:
        text = f"{program.file} runs, but was not ready after {READY_WITHIN:.0f} seconds"
        raise UserError(f"{text}. It printed last:{program.last_words()}") from None


async def _has(client: Client, *paths: str) -> bool:
    try:
        for path in paths:
            await client.request("GET", path)
    except (ApiError, Unreachable):
        return False
    return True
