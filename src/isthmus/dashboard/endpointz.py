"""`/debug/endpointShardz` and `/debug/registryz`: the joined view, in the shapes of istiod's pages."""

from typing import Any

from isthmus.model.service import Kind, Port, Service
from isthmus.model.view import MeshView
from isthmus.model.workload import Endpoint, Health

_REGISTRY = "Kubernetes"

_HEALTH = {Health.READY: 1, Health.UNREADY: 2, Health.DRAINING: 3}
"""istiod's numbers (model.HealthStatus)."""
_RESOLUTION = {Kind.CLUSTER_IP: 0, Kind.EXTERNAL_NAME: 1, Kind.HEADLESS: 2}
"""istiod's numbers (model.Resolution): client-side balancing, DNS, passthrough."""


def describe_endpoints(view: MeshView) -> dict[str, Any]:
    """By host and namespace what stands behind a service: `Shards`, by `Kubernetes/CLUSTER`, and
    `ServiceAccounts`, as SPIFFE's path without the trust domain.

    An endpoint has istiod's field names. One is ours, `AwaitsPod`: proxies are not told of it, as the Pod
    that it names has not been seen.
    """
    found: dict[str, Any] = {}
    for key in sorted(view.services()):
        service = view.service(key)
        if service is None:
            continue
        behind = view.endpoints(key)
        shards: dict[str, list[dict[str, Any]]] = {}
        for port in service.ports:
            for each in behind.get(port.number, ()):
                shards.setdefault(f"{_REGISTRY}/{each.cluster}", []).append(_endpoint(service, port, each))
        accounts = [f"ns/{key.namespace}/sa/{account}" for account in sorted(view.accounts(key))]
        found[key.hostname()] = {key.namespace: {"Shards": shards, "ServiceAccounts": accounts}}
    return found


def describe_services(view: MeshView) -> list[dict[str, Any]]:
    """Every merged service, with istiod's field names; ours are `kind`, `clusters` that have it,
    `conflicts`, on which ports these disagree, and `exportTo`, what each of them says where they disagree on
    that.
    """
    return [_service(service) for key in sorted(view.services()) if (service := view.service(key))]


def _service(service: Service) -> dict[str, Any]:
    return {
        "hostname": service.key.hostname(),
        "Attributes": {
            "ServiceRegistry": _REGISTRY,
            "Name": service.key.name,
            "Namespace": service.key.namespace,
            "ExportTo": {entry: {} for entry in service.export_to} or None,
        },
        "ports": [_port(port) for port in service.ports],
        "clusterVIPs": {
            "Addresses": {cluster: list(vips) for cluster, vips in sorted(service.addresses.items())}
        },
        "Resolution": _RESOLUTION[service.kind],
        "MeshExternal": False,
        "kind": service.kind.value,
        "clusters": sorted(service.clusters),
        "conflicts": [
            {
                "port": conflict.number,
                "chosen": conflict.chosen.value,
                "declared": {cluster: p.value for cluster, p in sorted(conflict.declared.items())},
            }
            for conflict in service.conflicts
        ],
        "exportTo": {cluster: list(entries) for cluster, entries in sorted(service.exports.items())},
    }


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "port": port.number, "protocol": port.protocol.value}


def _endpoint(service: Service, port: Port, endpoint: Endpoint) -> dict[str, Any]:
    workload = endpoint.workload
    return {
        "Labels": dict(workload.labels) if workload else {},
        "Addresses": [endpoint.address],
        "ServicePortName": port.name,
        "ServiceAccount": workload.service_account if workload else "",
        "Network": endpoint.network,
        "Locality": {
            "Label": "/".join(endpoint.locality).rstrip("/"),
            "ClusterID": endpoint.cluster,
        },
        "EndpointPort": endpoint.port,
        "LbWeight": endpoint.weight,
        "TLSMode": "istio" if workload and workload.tls_capable else "disabled",
        "Namespace": service.key.namespace,
        "WorkloadName": workload.owner if workload else "",
        "PodName": workload.key.name if workload else "",
        "HostName": endpoint.hostname,
        "HealthStatus": _HEALTH[endpoint.health],
        "AwaitsPod": endpoint.awaited,
    }
