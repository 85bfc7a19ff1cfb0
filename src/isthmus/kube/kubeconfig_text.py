"""An access written as a kubeconfig that stands alone: what `secret_kubeconfig` reads. Pure."""

import base64
from dataclasses import replace

import yaml

from isthmus.kube.access import Access


def write_kubeconfig(name: str, access: Access) -> bytes:
    """A kubeconfig with inline data only, whose cluster, user and context are called `name`."""
    cluster: dict[str, str] = {"server": access.server}
    if access.ca_pem:
        cluster["certificate-authority-data"] = _base64(access.ca_pem)
    if access.tls_server_name:
        cluster["tls-server-name"] = access.tls_server_name
    user: dict[str, str] = {}
    if access.token:
        user["token"] = access.token
    if access.client_cert_pem and access.client_key_pem:
        user["client-certificate-data"] = _base64(access.client_cert_pem)
        user["client-key-data"] = _base64(access.client_key_pem)
    whole = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return yaml.safe_dump(whole, sort_keys=False).encode()


def with_token(access: Access, token: str) -> Access:
    """The same server with that token and no other credential."""
    return replace(
        access, client_cert_pem=None, client_key_pem=None, token=token, token_file=None, exec_plugin=None
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
