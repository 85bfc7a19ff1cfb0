"""What the demonstration puts into the lab's clusters, as plain objects.

The control plane's part stands in for the charts, and is kept to what they will say: names, labels, ports
and rights.
"""

from typing import Any

Object = dict[str, Any]

SYSTEM = "istio-system"
DEMO = "demo"
READ = ["get", "list", "watch"]
MESH_RULES: list[Object] = [
    {"apiGroups": [""], "resources": ["services", "endpoints", "pods", "nodes", "namespaces"], "verbs": READ},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
]
"""What a reader of the mesh may do: read what services and workloads there are, and no Secret."""


def make(api_version: str, kind: str, name: str, namespace: str = "", **rest: Any) -> Object:
    """An object with its head; `rest` are further top-level fields."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **rest.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def namespace(name: str) -> Object:
    """A Namespace."""
    return make("v1", "Namespace", name)


def service_account(name: str, namespace: str) -> Object:
    """A ServiceAccount."""
    return make("v1", "ServiceAccount", name, namespace)


def cluster_role(name: str, rules: list[Object]) -> Object:
    """A ClusterRole."""
    return make("rbac.authorization.k8s.io/v1", "ClusterRole", name, rules=rules)


def bind_cluster_role(name: str, account: str, namespace: str) -> Object:
    """A ClusterRoleBinding of the same name as its role, to one ServiceAccount."""
    return make(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        name,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    )


def deployment(
    name: str, namespace: str, labels: dict[str, str], spec: Object, *, replicas: int = 1
) -> Object:
    """A Deployment whose pods have these labels and this PodSpec."""
    return make(
        "apps/v1",
        "Deployment",
        name,
        namespace,
        spec={
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    )
