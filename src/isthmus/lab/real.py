"""The real etcd, kube-apiserver and kube-controller-manager, in place of the lab's own parts.

They come from the folder that KUBEBUILDER_ASSETS names, and run at the same addresses with the same keys.
They are told nothing that kubeadm would not tell them, but for etcd's: it syncs nothing, since a lab is
thrown away. Where the folder has no kube-controller-manager, as envtest's has none, the lab's own
controllers serve the real server.
Source of the flags: the Kubernetes 1.36 command line reference, and etcd 3.6's configuration options.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from isthmus.kube.access import Access
from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lab import pki
from isthmus.lab.apiserver.tokens import ISSUER
from isthmus.lab.plan import API_PORT, ClusterPlan
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import stop_signal, task_scope

VARIABLE = "KUBEBUILDER_ASSETS"
_NAMES = ("etcd", "kube-apiserver")
_CONTROLLER_MANAGER = "kube-controller-manager"
_ETCD_PORTS = (2379, 2380)
_READY_WITHIN = 60.0
_ASK_EVERY = 0.2
_GRACE = 15.0


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


def find_assets(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder that KUBEBUILDER_ASSETS names, None where it is not set. UserError: it lacks a part."""
    named = environment.get(VARIABLE)
    if not named:
        return None
    missing = [name for name in _NAMES if not os.access(Path(named) / name, os.X_OK)]
    if missing:
        raise UserError(f"{VARIABLE} is {named}, where {', '.join(missing)} is missing; correct or unset it.")
    return Path(named)


def etcd_command(server: RealServer, assets: Path) -> list[str]:
    """The command line of etcd, one member, plain HTTP on loopback."""
    client, peer = (f"http://127.0.0.1:{port}" for port in server.etcd_ports)
    return [
        str(assets / "etcd"),
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


def api_server_command(server: RealServer, assets: Path) -> list[str]:
    """The command line of kube-apiserver; admission plug-ins are those on by default."""
    files = server.files
    kubelet_client = "apiserver-kubelet-client"
    return [
        str(assets / "kube-apiserver"),
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


def controllers_command(plan: ClusterPlan, directory: Path, assets: Path) -> list[str]:
    """The command line of kube-controller-manager.

    All controllers that are on by default: those that need a cloud, a signing key or node CIDRs leave
    themselves out, since none is given.
    """
    files, kubeconfig = pki.PkiFiles(directory / "pki"), directory / "controllers.kubeconfig"
    return [
        str(assets / _CONTROLLER_MANAGER),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
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
async def running_real_server(server: RealServer, assets: Path) -> AsyncGenerator[RealServer]:
    """etcd and kube-apiserver, ready; should one end by itself, the block fails with UserError.

    The keys must be there. kube-apiserver is stopped before its etcd.
    """
    (server.directory / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
    async with _running(etcd_command(server, assets), api_server_command(server, assets)):
        async with running_client(server.access()) as client:
            await _until_ready(client)
        yield server


async def serve_real_api_server(plan: ClusterPlan, directory: Path, assets: Path, ready: Path) -> None:
    """Run the cluster's real API server until SIGTERM; `ready` exists while it serves."""
    stop = stop_signal()
    server = RealServer(directory, plan.node_address, API_PORT, plan.service_cidr)
    async with running_real_server(server, assets):
        await _stay(ready, stop)


def has_controller_manager(assets: Path) -> bool:
    """Whether the folder has a kube-controller-manager too."""
    return os.access(assets / _CONTROLLER_MANAGER, os.X_OK)


async def run_real_controllers(plan: ClusterPlan, assets: Path) -> None:
    """Run the cluster's real kube-controller-manager until SIGTERM; UserError where it ends by itself."""
    stop = stop_signal()
    async with _running(controllers_command(plan, plan.directory, assets)):
        await _stay(plan.directory / "run" / "controllers.ready", stop)


async def _stay(ready: Path, stop: asyncio.Event) -> None:
    ready.parent.mkdir(parents=True, exist_ok=True)
    ready.touch()
    try:
        await stop.wait()
    finally:
        ready.unlink(missing_ok=True)


@asynccontextmanager
async def _running(*commands: Sequence[str]) -> AsyncGenerator[None]:
    """Programs that write to our own standard error; UserError in the block when the first of them ends.

    They are started in order, and stopped in reverse: asked to end, then made to.
    """
    ended: asyncio.Queue[str] = asyncio.Queue(len(commands))
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(_program(command)) for command in commands]
        async with task_scope() as scope:
            for command, process in zip(commands, processes, strict=True):
                scope.spawn(_note_end(process, Path(command[0]).name, ended), name=command[0])
            scope.serve(_fail_at_first_end(ended), name="programs")
            yield


@asynccontextmanager
async def _program(command: Sequence[str]) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
    try:
        yield process
    finally:
        await _end(process)


async def _note_end(process: asyncio.subprocess.Process, name: str, ended: asyncio.Queue[str]) -> None:
    code = await process.wait()
    await ended.put(f"{name} ended with exit code {code}")


async def _fail_at_first_end(ended: asyncio.Queue[str]) -> None:
    raise UserError(f"{await ended.get()}; its last lines in the log above say why.")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_GRACE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until_ready(client: Client) -> None:
    try:
        async with asyncio.timeout(_READY_WITHIN):
            while not await _is_ready(client):  # noqa: ASYNC110 - another process's state can only be polled
                await asyncio.sleep(_ASK_EVERY)
    except TimeoutError:
        text = f"kube-apiserver was not ready after {_READY_WITHIN:.0f} seconds; its log above says why."
        raise UserError(text) from None


async def _is_ready(client: Client) -> bool:
    try:
        await client.request("GET", "/readyz")
    except (ApiError, Unreachable):
        return False
    return True
