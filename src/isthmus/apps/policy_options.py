"""What the policy server is told by its command line, by mesh config and by its pod."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus.apps.pilot_options import mesh_config
from isthmus.config.mesh import MeshConfig
from isthmus.config.proxy import PLAIN_PORTS, split_address
from isthmus.config.workload_feed import KIND
from isthmus.kube.access import SERVICE_ACCOUNT, Access, access_from_file, access_in_cluster
from isthmus.lib.address import HostPort
from isthmus.policy.pilot_channel import Credentials

TOKEN = Path("/var/run/secrets/tokens/istio-token")
ROOTS = Path("/var/run/secrets/istio/root-cert.pem")
"""Where pods of the mesh have their token of audience `istio-ca`, and the mesh's roots."""


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """What the command line says. `rules`: files instead of the Kubernetes API. `redis_url` "": in memory.

    `discovery_address` None: that of the mesh config in a pod, elsewhere nobody is followed. `root_namespace`
    None: the mesh config's.
    """

    rules: tuple[Path, ...]
    kubeconfig: Path | None
    context: str | None
    root_namespace: str | None
    redis_url: str
    mesh_config: Path | None
    discovery_address: HostPort | None
    token_file: Path
    roots_file: Path
    grpc_address: HostPort
    tls_address: HostPort
    monitoring_address: HostPort


@dataclass(frozen=True, slots=True)
class Pilot:
    """The control plane as the policy server knows it. `credentials` None: plain text, nothing is proved."""

    address: HostPort
    credentials: Credentials | None
    node: str


def read_mesh(options: PolicyOptions) -> MeshConfig:
    """The mesh config. Raises UserError."""
    return mesh_config(options.mesh_config)


def own_cluster(kubeconfig: Path | None, context: str | None) -> Access:
    """In a pod its service account, unless a kubeconfig is named; elsewhere the default one."""
    if kubeconfig is None and context is None and in_pod():
        return access_in_cluster()
    return access_from_file(kubeconfig, context)


def in_pod() -> bool:
    """Whether this is a pod of a cluster."""
    return (SERVICE_ACCOUNT / "token").is_file()


def find_pilot(options: PolicyOptions, mesh: MeshConfig, environment: Mapping[str, str]) -> Pilot | None:
    """Where the control plane is; None where there is none to follow. Raises UserError for a bad address."""
    told = options.discovery_address
    if told is None and not in_pod():
        return None
    default = mesh.default_config
    address = told or split_address(default.discovery_address, "Mesh config's defaultConfig.discoveryAddress")
    secure = default.secure if told is None else told.port not in PLAIN_PORTS
    cluster = environment.get("CLUSTER_ID", "")
    namespace = environment.get("POD_NAMESPACE", mesh.root_namespace)
    pod, ip = environment.get("POD_NAME", "istio-policy"), environment.get("INSTANCE_IP", "127.0.0.1")
    return Pilot(
        address,
        Credentials(options.roots_file, options.token_file, cluster) if secure else None,
        f"{KIND}~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local",
    )
