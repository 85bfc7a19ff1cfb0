"""Everything needed to reach one API server, and the two places where a process of ours finds it.

A cluster Secret is the third, and stricter: see `secret_kubeconfig`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.lib.errors import UserError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A credential plugin of a person's kubeconfig (client.authentication.k8s.io `api_version`)."""

    api_version: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cluster: Mapping[str, object] | None = field(default=None, repr=False)
    """What the plugin is told of the cluster, where the kubeconfig says `provideClusterInfo`."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one API server and who to be there. Its repr shows no secret.

    `server` is the base URL, a path prefix allowed. Certificates and keys are PEM. Of `token_file`, `token`
    and `exec_plugin` the first that is there gives the bearer token; a token file is read again as it
    changes. `namespace` is meant where a call names none. `insecure` trusts any certificate.
    """

    server: str
    ca_pem: bytes | None = field(default=None, repr=False)
    client_cert_pem: bytes | None = field(default=None, repr=False)
    client_key_pem: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    tls_server_name: str | None = None
    namespace: str = "default"
    insecure: bool = False
    exec_plugin: ExecPlugin | None = None


class NoKubeconfigError(UserError):
    """A person named no kubeconfig, and there is none where kubectl would look."""


def access_in_cluster(folder: Path = SERVICE_ACCOUNT, environment: Mapping[str, str] = os.environ) -> Access:
    """The API server of the cluster that this process's pod is in (Kubernetes: "Accessing the API from a
    Pod"). Raises UserError outside of pods.
    """
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise UserError(
            "Not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; "
            "name a kubeconfig with --kubeconfig."
        )
    token_file = folder / "token"
    if not token_file.is_file():
        raise UserError(
            f"This pod has no service-account token at {token_file}; "
            "remove automountServiceAccountToken: false from the pod or its service account."
        )
    namespace_file = folder / "namespace"
    ca_file = folder / "ca.crt"
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_pem=ca_file.read_bytes() if ca_file.is_file() else None,
        token_file=token_file,
        namespace=(namespace_file.read_text().strip() if namespace_file.is_file() else "") or "default",
    )


def access_from_file(
    path: Path | None, context: str | None = None, *, environment: Mapping[str, str] = os.environ
) -> Access:
    """The access that a person's kubeconfig gives: `path`, else $KUBECONFIG, else ~/.kube/config.

    $KUBECONFIG may name several files; the first to define a name wins (kubectl: "Organizing Cluster
    Access Using kubeconfig Files"). `context` overrides the current context. Raises UserError,
    NoKubeconfigError where there is none and nobody named one.
    """
    from isthmus.kube.person_kubeconfig import load_access

    if path is not None:
        return load_access([path], context)
    listed = [Path(each) for each in environment.get("KUBECONFIG", "").split(os.pathsep) if each]
    paths = [each for each in listed or [Path("~/.kube/config")] if each.expanduser().is_file()]
    if not paths:
        where = " or ".join(map(str, listed)) or "~/.kube/config"
        raise NoKubeconfigError(f"No kubeconfig at {where}; name one with --kubeconfig or set KUBECONFIG.")
    return load_access(paths, context)
