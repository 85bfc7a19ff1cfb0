"""A remote cluster's part: where its sidecars find the control plane, and what the control plane may read.

The control plane's cluster gets a Secret with a kubeconfig for that reader.
"""

import base64

import yaml

from isthmus.lab.manifests import (
    MESH_RULES,
    SYSTEM,
    Object,
    bind_cluster_role,
    cluster_role,
    make,
    namespace,
    service_account,
)
from isthmus.lab.manifests.control_plane import NAME, PORTS, injection_settings

READER = "istio-reader-service-account"
_ROLE = "istio-reader"


def remote(cluster: str, pilot_address: str) -> list[Object]:
    """What remote `cluster` needs, in the order to create it; `pilot_address` is the IP of pilot's pod."""
    ports = [{"name": name, "port": number} for name, number in PORTS.items()]
    return [
        namespace(SYSTEM),
        service_account(READER, SYSTEM),
        cluster_role(_ROLE, MESH_RULES),
        bind_cluster_role(_ROLE, READER, SYSTEM),
        *injection_settings(cluster),
        make("v1", "Service", NAME, SYSTEM, spec={"clusterIP": "None", "ports": ports}),
        make(
            "v1",
            "Endpoints",
            NAME,
            SYSTEM,
            subsets=[{"addresses": [{"ip": pilot_address}], "ports": ports}],
        ),
    ]


def cluster_secret(cluster: str, server: str, ca_pem: bytes, token: str) -> Object:
    """The labelled Secret that registers a cluster: one key, the cluster's name; inline data only."""
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(ca_pem).decode(),
                },
            }
        ],
        "users": [{"name": cluster, "user": {"token": token}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": cluster}}],
        "current-context": cluster,
    }
    return make(
        "v1",
        "Secret",
        cluster,
        SYSTEM,
        metadata={"labels": {"istio/multiCluster": "true"}},
        type="Opaque",
        data={cluster: base64.b64encode(yaml.safe_dump(kubeconfig).encode()).decode()},
    )
