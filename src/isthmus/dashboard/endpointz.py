"""`/debug/endpointz` and `/debug/registryz`: what the joined view holds, in the shapes of istiod's pages."""

from typing import Any

from isthmus.model.service import Port, Service, ServiceKey
from isthmus.model.view import MeshView
from isthmus.model.workload import Endpoint


def describe_endpoints(view: MeshView) -> list[dict[str, Any]]:
    """One row for each service port: `{"svc": "HOST:PORT-NAME", "ep": [...]}`, sorted by host.

    An element of `ep` has `service`, `servicePort` and `endpoint`, the last with istiod's field names. One is
    ours, `AwaitsPod`: proxies are not told of it, as the Pod that it names has not been seen.
    """
    rows: list[dict[str, Any]] = []
    for key in sorted(view.services()):
        service = view.service(key)
        if service is None:
            continue
        behind = view.endpoints(key)
        for port in service.ports:
            endpoints = [_instance(service, port, e) for e in behind.get(port.number, ())]
            rows.append({"svc": f"{key.hostname()}:{port.name or port.number}", "ep": endpoints})
    return rows


def describe_services(view: MeshView) -> list[dict[str, Any]]:
    """Every merged service with its clusters, addresses, ports, and what clusters disagree on."""
    return [_service(service) for key in sorted(view.services()) if (service := view.service(key))]


def _service(service: Service) -> dict[str, Any]:
    return {
        **_service_name(service.key),
        "kind": service.kind.value,
        "ports": [_port(port) for port in service.ports],
        "clusterVIPs": {cluster: list(vips) for cluster, vips in sorted(service.addresses.items())},
        "clusters": sorted(service.clusters),
        "conflicts": [
            {
                "port": conflict.number,
                "chosen": conflict.chosen.value,
                "declared": {cluster: p.value for cluster, p in sorted(conflict.declared.items())},
            }
            for conflict in service.conflicts
        ],
    }


def _service_name(key: ServiceKey) -> dict[str, Any]:
    return {"hostname": key.hostname(), "Attributes": {"Name": key.name, "Namespace": key.namespace}}


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "port": port.number, "protocol": port.protocol.value}


def _instance(service: Service, port: Port, endpoint: Endpoint) -> dict[str, Any]:
    workload = endpoint.workload
    return {
        "service": _service_name(service.key),
        "servicePort": _port(port),
        "endpoint": {
            "Labels": dict(workload.labels) if workload else {},
            "Address": endpoint.address,
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
            "HealthStatus": endpoint.health.value,
            "AwaitsPod": endpoint.awaited,
        },
    }
