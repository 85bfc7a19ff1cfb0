"""Short ways to write to a cluster's state, as its administrator."""

from typing import Any

from isthmus.lab.apiserver import kinds, writing
from isthmus.lab.apiserver.authn import User
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.rbac import MASTERS
from isthmus.lab.apiserver.requests import Target
from isthmus.lab.apiserver.resource import Resource

ADMIN = User("admin", (MASTERS,))


def target(resource: Resource, name: str = "", *, namespace: str = "default", user: User = ADMIN) -> Target:
    return Target(resource, namespace if resource.namespaced else "", name, user)


def create(
    cluster: Cluster, resource: Resource, name: str, *, namespace: str = "default", **more: Any
) -> Object:
    meta = {"name": name, **more.pop("metadata", {})}
    return writing.create(cluster, target(resource, namespace=namespace), {"metadata": meta, **more})


def create_pod(cluster: Cluster, name: str, **spec: Any) -> Object:
    """A Pod in namespace `default`, with the account that it needs."""
    if cluster.store.get(kinds.SERVICE_ACCOUNTS, target(kinds.SERVICE_ACCOUNTS, "default").key) is None:
        create(cluster, kinds.SERVICE_ACCOUNTS, "default")
    containers = [{"name": "main", "image": "example/app:1"}]
    return create(cluster, kinds.PODS, name, spec={"containers": containers, **spec})
