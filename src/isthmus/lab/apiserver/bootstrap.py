"""What a cluster has before it is used: namespaces, default roles, the Service `kubernetes`, its range."""

from isthmus.lab.apiserver import kinds, writing
from isthmus.lab.apiserver.authn import User
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.rbac import MASTERS
from isthmus.lab.apiserver.requests import Target
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.roles import aggregated, cluster_role_bindings, cluster_roles
from isthmus.lab.apiserver.store import Key

_SELF = User("system:apiserver", (MASTERS,))
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_SERVICE = "kubernetes"
_SERVICE_LABELS = {"component": "apiserver", "provider": "kubernetes"}


def bootstrap(cluster: Cluster) -> None:
    """Create what is missing, and point the Service `kubernetes` at this server."""
    for name in _NAMESPACES:
        _ensure(cluster, kinds.NAMESPACES, "", {"metadata": {"name": name}})
    for role in cluster_roles():
        _ensure(cluster, kinds.CLUSTER_ROLES, "", role)
    for binding in cluster_role_bindings():
        _ensure(cluster, kinds.CLUSTER_ROLE_BINDINGS, "", binding)
    aggregate_roles(cluster)
    _serve(cluster)


def aggregate_roles(cluster: Cluster) -> None:
    """Bring the rules of every aggregated ClusterRole up to date."""
    roles = cluster.store.values(kinds.CLUSTER_ROLES)
    for stored in roles:
        role = stored.object
        rules = aggregated(role, (one.object for one in roles))
        if rules is not None and rules != role.get("rules"):
            changed = {**role, "metadata": {**role["metadata"]}, "rules": rules}
            cluster.store.commit(kinds.CLUSTER_ROLES, Key("", role["metadata"]["name"]), changed)


def _serve(cluster: Cluster) -> None:
    settings = cluster.settings
    cidrs = {"metadata": {"name": _SERVICE}, "spec": {"cidrs": [str(settings.service_cidr)]}}
    _ensure(cluster, kinds.SERVICE_CIDRS, "", cidrs)
    ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": settings.port}]
    _ensure(
        cluster,
        kinds.SERVICES,
        "default",
        {
            "metadata": {"name": _SERVICE, "namespace": "default", "labels": _SERVICE_LABELS},
            "spec": {"clusterIP": str(settings.service_cidr[1]), "ports": ports},
        },
    )
    address, port = str(settings.address), {"name": "https", "port": settings.port, "protocol": "TCP"}
    skipped = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    _put(
        cluster,
        kinds.ENDPOINTS,
        {
            "metadata": {"name": _SERVICE, "namespace": "default", "labels": skipped},
            "subsets": [{"addresses": [{"ip": address}], "ports": [port]}],
        },
    )
    _put(
        cluster,
        kinds.ENDPOINT_SLICES,
        {
            "metadata": {
                "name": _SERVICE,
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": _SERVICE},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [port],
        },
    )


def _ensure(cluster: Cluster, resource: Resource, namespace: str, object_: Object) -> None:
    if cluster.store.get(resource, Key(namespace, object_["metadata"]["name"])) is None:
        writing.create(cluster, Target(resource, namespace, "", _SELF), object_)


def _put(cluster: Cluster, resource: Resource, object_: Object) -> None:
    """Create an object of namespace `default`, or bring it up to date; loopback is allowed here."""
    key = Key("default", object_["metadata"]["name"])
    found = cluster.store.get(resource, key)
    if found is None:
        made = writing.completed(cluster, Target(resource, "default", "", _SELF), object_)
        cluster.store.commit(resource, key, made)
    elif any(found.object[part] != object_[part] for part in object_ if part != "metadata"):
        changed = {**found.object, **object_, "metadata": {**found.object["metadata"]}}
        cluster.store.commit(resource, key, changed)
