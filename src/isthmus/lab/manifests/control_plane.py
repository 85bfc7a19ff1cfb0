"""The control plane in its own cluster: rights, Deployment, Service and mesh configuration."""

import json

from isthmus.lab.manifests import (
    MESH_RULES,
    READ,
    SYSTEM,
    Object,
    bind_cluster_role,
    cluster_role,
    deployment,
    make,
    namespace,
    service_account,
)

NAME = "istio-pilot"
_ACCOUNT = "istio-pilot-service-account"
_ROLE = "istio-pilot"
PORTS = {"grpc-xds": 15010, "http-monitoring": 15014, "http-debug": 8080}


def control_plane(cluster: str) -> list[Object]:
    """Everything that the control plane of cluster `cluster` needs, in the order to create it."""
    labels = {"istio": "pilot", "app": "istio-pilot"}
    ports = [{"name": name, "port": number, "targetPort": number} for name, number in PORTS.items()]
    return [
        namespace(SYSTEM),
        service_account(_ACCOUNT, SYSTEM),
        cluster_role(_ROLE, MESH_RULES),
        bind_cluster_role(_ROLE, _ACCOUNT, SYSTEM),
        make(
            "rbac.authorization.k8s.io/v1",
            "Role",
            _ROLE,
            SYSTEM,
            rules=[
                {"apiGroups": [""], "resources": ["secrets"], "verbs": READ},
                {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
                {
                    "apiGroups": [""],
                    "resources": ["configmaps"],
                    "verbs": ["get", "list", "create", "patch", "delete"],
                },
            ],
        ),
        make(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            _ROLE,
            SYSTEM,
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": _ROLE},
            subjects=[{"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": SYSTEM}],
        ),
        *injection_settings(cluster),
        make(
            "v1",
            "Service",
            NAME,
            SYSTEM,
            metadata={"labels": labels},
            spec={"selector": labels, "ports": ports},
        ),
        deployment(NAME, SYSTEM, labels, _pod(cluster)),
    ]


def injection_settings(cluster: str) -> list[Object]:
    """What `isthmus inject` reads in every cluster of the mesh, and pilot in its own: the two ConfigMaps."""
    mesh = "outboundTrafficPolicy:\n  mode: ALLOW_ANY\n"
    values = json.dumps({"global": {"multiCluster": {"clusterName": cluster}}})
    return [
        make("v1", "ConfigMap", "istio", SYSTEM, data={"mesh": mesh}),
        make("v1", "ConfigMap", "istio-sidecar-injector", SYSTEM, data={"values": values}),
    ]


def _pod(cluster: str) -> Object:
    return {
        "serviceAccountName": _ACCOUNT,
        "terminationGracePeriodSeconds": 5,
        "containers": [
            {
                "name": "discovery",
                "image": "isthmus/pilot",
                "command": ["isthmus", "pilot"],
                "env": [{"name": "CLUSTER_ID", "value": cluster}],
                "ports": [{"name": name, "containerPort": number} for name, number in PORTS.items()],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
                "volumeMounts": [{"name": "mesh", "mountPath": "/etc/istio/config", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "mesh", "configMap": {"name": "istio"}}],
    }
