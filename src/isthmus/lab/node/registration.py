"""The Node and its Lease: says that the node is there and ready, and keeps saying so."""

import asyncio
import os
import platform
from datetime import UTC, datetime
from typing import Any, NoReturn

import structlog

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import untyped
from isthmus.lab.node.status import timestamp
from isthmus.lab.plan import KUBELET_PORT, ClusterPlan

NODE = untyped("", "v1", "nodes", "Node", namespaced=False)
LEASE = untyped("coordination.k8s.io", "v1", "leases", "Lease")
_LEASES = "kube-node-lease"
_LEASE_SECONDS = 40
_RENEW = 10.0
_RETRY = 0.2
_MOST_PODS = 250
_CONDITIONS = {
    "MemoryPressure": ("False", "KubeletHasSufficientMemory"),
    "DiskPressure": ("False", "KubeletHasNoDiskPressure"),
    "PIDPressure": ("False", "KubeletHasSufficientPID"),
    "Ready": ("True", "KubeletReady"),
}
_log = structlog.get_logger()


def node_capacity() -> dict[str, str]:
    """What the machine has; all clusters of a lab share it, and nothing enforces it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{memory}Ki", "pods": str(_MOST_PODS)}


def node_object(plan: ClusterPlan) -> dict[str, Any]:
    """The Node as it registers: its region is the cluster's name, with one zone."""
    labels = {
        "kubernetes.io/hostname": plan.node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(
            platform.machine(), platform.machine()
        ),
        "topology.kubernetes.io/region": plan.name,
        "topology.kubernetes.io/zone": f"{plan.name}-a",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": plan.node_name, "labels": labels},
        "spec": {
            "podCIDR": str(plan.pod_cidr),
            "podCIDRs": [str(plan.pod_cidr)],
            "providerID": f"isthmus://{plan.name}",
        },
    }


def node_status(plan: ClusterPlan, capacity: dict[str, str], now: datetime) -> dict[str, Any]:
    """The Node's status: addresses, capacity, conditions."""
    stamp = timestamp(now)
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": str(plan.node_address)},
            {"type": "Hostname", "address": plan.node_name},
        ],
        "conditions": [
            {"type": kind, "status": status, "reason": reason, "message": ""}
            | {"lastHeartbeatTime": stamp, "lastTransitionTime": stamp}
            for kind, (status, reason) in _CONDITIONS.items()
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
        "nodeInfo": {
            "architecture": platform.machine(),
            "bootID": "",
            "containerRuntimeVersion": "isthmus-lab://1",
            "kernelVersion": platform.release(),
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.36.0-isthmus-lab",
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": "Isthmus lab",
            "systemUUID": "",
        },
    }


async def register_node(client: Client, plan: ClusterPlan, capacity: dict[str, str]) -> str:
    """Create or refresh the Node; its UID. Tries until the API server takes it."""
    while True:
        try:
            try:
                node = await client.create(NODE, node_object(plan))
            except ApiError as error:
                if error.status != 409:
                    raise
                node = await client.patch(NODE, plan.node_name, {"metadata": node_object(plan)["metadata"]})
            status = {"status": node_status(plan, capacity, datetime.now(UTC))}
            await client.patch(NODE, plan.node_name, status, subresource="status")
            return node["metadata"]["uid"]
        except (ApiError, Unreachable) as error:
            _log.warning("node not registered; will try again", error=str(error))
            await asyncio.sleep(_RETRY)


async def serve_lease(client: Client, plan: ClusterPlan, uid: str) -> NoReturn:
    """Renew the node's Lease for ever (KEP-589)."""
    while True:
        spec = {
            "holderIdentity": plan.node_name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        owner = {"apiVersion": "v1", "kind": "Node", "name": plan.node_name, "uid": uid}
        meta = {"name": plan.node_name, "namespace": _LEASES, "ownerReferences": [owner]}
        try:
            try:
                await client.patch(LEASE, plan.node_name, {"spec": spec}, _LEASES)
            except ApiError as error:
                if error.status != 404:
                    raise
                lease = {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": meta, "spec": spec}
                await client.create(LEASE, lease, _LEASES)
        except (ApiError, Unreachable) as error:
            _log.warning("lease not renewed; will try again", error=str(error))
        await asyncio.sleep(_RENEW)
