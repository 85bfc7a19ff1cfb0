"""Writes objects into a lab cluster as `kubectl apply` would, for the demonstration and the tests."""

from collections.abc import Iterable

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import Kind, untyped
from isthmus.lab.controllers.objects import Object

_RBAC = "rbac.authorization.k8s.io"
_KINDS = {
    kind.kind: kind
    for kind in (
        untyped("", "v1", "namespaces", "Namespace", namespaced=False),
        untyped("", "v1", "serviceaccounts", "ServiceAccount"),
        untyped("", "v1", "configmaps", "ConfigMap"),
        untyped("", "v1", "secrets", "Secret"),
        untyped("", "v1", "services", "Service"),
        untyped("", "v1", "endpoints", "Endpoints"),
        untyped("", "v1", "pods", "Pod"),
        untyped("apps", "v1", "deployments", "Deployment"),
        untyped(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
        untyped(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
        untyped(_RBAC, "v1", "roles", "Role"),
        untyped(_RBAC, "v1", "rolebindings", "RoleBinding"),
    )
}


def kind_named(name: str) -> Kind[Object]:
    """One of the kinds that the lab writes."""
    return _KINDS[name]


async def apply(client: Client, objects: Iterable[Object]) -> None:
    """Create each object in order, or merge it into the one that is there."""
    for item in objects:
        kind, metadata = kind_named(item["kind"]), item["metadata"]
        try:
            await client.create(kind, item)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            await client.patch(kind, metadata["name"], item, metadata.get("namespace"))


async def remove(client: Client, kind: str, name: str, namespace: str | None = None) -> None:
    """Delete an object, if it is there."""
    try:
        await client.delete(kind_named(kind), name, namespace)
    except ApiError as error:
        if error.status != 404:
            raise
