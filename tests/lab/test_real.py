import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from aiohttp.test_utils import unused_port

from isthmus.kube.client import running_client
from isthmus.kube.errors import Unreachable
from isthmus.lab.assets import Assets, find_assets
from isthmus.lab.pki import make_cluster_pki
from isthmus.lab.plan import API_PORT, ClusterPlan
from isthmus.lab.real import (
    RealServer,
    api_server_command,
    controllers_command,
    etcd_command,
    running_real_server,
)
from tests.lab.assets_folder import program, stand_in

PLAN = ClusterPlan("west", 0)
ASSETS = Assets(Path("/opt/assets"), has_controller_manager=True)
DIRECTORY = Path("/run/lab/west")
SERVER = RealServer(DIRECTORY, PLAN.node_address, API_PORT, PLAN.service_cidr)


def _flags(command: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in command[1:])


def test_etcd_listens_on_loopback_only() -> None:
    command = etcd_command(SERVER, ASSETS)
    assert command[0] == "/opt/assets/etcd"
    flags = _flags(command)
    assert flags["listen-client-urls"] == flags["advertise-client-urls"] == "http://127.0.0.1:2379"
    assert flags["initial-cluster"] == f"{flags['name']}={flags['initial-advertise-peer-urls']}"
    assert flags["data-dir"] == "/run/lab/west/data/etcd"


def test_kube_apiserver_is_where_the_embedded_one_would_be_with_the_same_keys() -> None:
    flags = _flags(api_server_command(SERVER, ASSETS))
    assert f"https://{flags['bind-address']}:{flags['secure-port']}" == PLAN.api_url == SERVER.url
    assert flags["etcd-servers"] == "http://127.0.0.1:2379"
    assert flags["authorization-mode"] == "Node,RBAC"
    assert flags["service-cluster-ip-range"] == str(PLAN.service_cidr)
    assert flags["client-ca-file"] == "/run/lab/west/pki/ca.crt"
    assert flags["service-account-key-file"] == "/run/lab/west/pki/sa.pub"
    assert flags["service-account-signing-key-file"] == "/run/lab/west/pki/sa.key"
    assert flags["service-account-issuer"] == "https://kubernetes.default.svc.cluster.local"
    assert flags["kubelet-client-certificate"] == "/run/lab/west/pki/apiserver-kubelet-client.crt"


def test_kube_controller_manager_has_an_account_for_each_controller() -> None:
    flags = _flags(controllers_command(PLAN, DIRECTORY, ASSETS))
    assert flags["kubeconfig"] == "/run/lab/west/controllers.kubeconfig"
    assert flags["use-service-account-credentials"] == "true"
    assert flags["root-ca-file"] == "/run/lab/west/pki/ca.crt"
    assert flags["leader-elect"] == "false"
    assert flags["secure-port"] == "0"


_STAND_IN = """
import asyncio, sys
from ipaddress import IPv4Address
from pathlib import Path
from isthmus.lab.apiserver.server import running_api_server

async def serve(flags):
    directory = Path(flags["client-ca-file"]).parent.parent
    address = IPv4Address(flags["bind-address"])
    async with running_api_server(directory, address=address, port=int(flags["secure-port"])):
        await asyncio.Event().wait()

if "--version" in sys.argv:
    print("Kubernetes v1.36.0")
else:
    asyncio.run(serve(dict(argument[2:].split("=", 1) for argument in sys.argv[1:])))
"""


async def test_the_programs_run_until_the_block_ends(tmp_path: Path) -> None:
    """With stand-ins, since this shows their life, not their work: the contract suite does that."""
    stand_in(tmp_path / "etcd", "3.6.4", "exec sleep 600")
    program(tmp_path / "kube-apiserver", f"#!{sys.executable}\n{_STAND_IN}")
    make_cluster_pki(PLAN, tmp_path)
    server = RealServer(tmp_path, IPv4Address("127.0.0.1"), unused_port(), PLAN.service_cidr)
    assets = find_assets({"KUBEBUILDER_ASSETS": str(tmp_path)})
    assert assets is not None
    async with running_real_server(server, assets), running_client(server.access()) as client:
        assert await client.request("GET", "/readyz") == b"ok"
    with pytest.raises(Unreachable):
        async with running_client(server.access()) as client:
            await client.request("GET", "/readyz")
