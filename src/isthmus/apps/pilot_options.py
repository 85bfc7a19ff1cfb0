"""What pilot is told, and what it finds out by itself where it is not told."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.config.mesh import MeshConfig, read_mesh_config
from isthmus.config.proxy import AuthenticationPolicy
from isthmus.kube.access import SERVICE_ACCOUNT, Access, access_from_file, access_in_cluster
from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError

MOUNTED_MESH_CONFIG = Path("/etc/istio/config/mesh")
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class PilotOptions:
    """What the command line says; None means: find out.

    Without `kubeconfig` and `context` a process in a pod uses its service account, any other one the
    default kubeconfig. No `xds_address` means no plain listener.
    """

    kubeconfig: Path | None
    context: str | None
    namespace: str | None
    cluster_id: str
    xds_address: HostPort | None
    xds_tls_addresses: Sequence[HostPort]
    http_addresses: Sequence[HostPort]
    mesh_config: Path | None


def own_cluster(options: PilotOptions) -> Access:
    """How to reach the control plane's own cluster."""
    if options.kubeconfig is None and options.context is None and (SERVICE_ACCOUNT / "token").is_file():
        return access_in_cluster()
    return access_from_file(options.kubeconfig, options.context)


def own_namespace(options: PilotOptions) -> str:
    """Where the control plane's Secrets are."""
    file = SERVICE_ACCOUNT / "namespace"
    return options.namespace or (file.read_text().strip() if file.is_file() else "istio-system")


def mesh_config(file: Path | None) -> MeshConfig:
    """The mesh config of `file`, of the place where a pod has it, or the defaults. Raises UserError."""
    if file is None:
        if not MOUNTED_MESH_CONFIG.is_file():
            return MeshConfig()
        file = MOUNTED_MESH_CONFIG
    try:
        return read_mesh_config(file.read_text("utf-8"))
    except OSError as error:
        raise UserError(
            f"The mesh config {file} cannot be read: {error.strerror}; correct --mesh-config."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"The mesh config {file} is not UTF-8 text (byte {error.start}); write it as YAML anew."
        ) from error


def plain_address(address: HostPort, mesh: MeshConfig) -> HostPort:
    """Where plain-text xDS is served: nobody who comes there proves anything, so on loopback only.

    Mesh config `defaultConfig.controlPlaneAuthPolicy: NONE` (Istio 1.0; its chart writes it for
    `global.controlPlaneSecurityEnabled: false`) opens it to the network. Raises UserError for an address that
    is asked for by name and must not be served.
    """
    if mesh.default_config.control_plane_auth_policy is AuthenticationPolicy.NONE:
        return address
    if address.host in _LOOPBACK:
        return HostPort(_LOOPBACK[address.host], address.port)
    if address.host == "localhost" or _is_loopback(address.host):
        return address
    raise UserError(
        f"Plain-text xDS on {address} would give every proxy's configuration to whoever asks; name a "
        "loopback address, or set controlPlaneAuthPolicy: NONE in the mesh config's defaultConfig."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
