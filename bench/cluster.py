"""What the benchmark keeps in a cluster: N services of M endpoints each, behind no pods."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import untyped

_NAMESPACE = untyped("", "v1", "namespaces", "Namespace", namespaced=False)
_SERVICE = untyped("", "v1", "services", "Service")
_SLICE = untyped("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
_AT_ONCE = 16
NAMESPACE = "bench"


@dataclass(frozen=True, slots=True)
class Written:
    """When a write was sent and when the API server answered, on the monotonic clock."""

    sent: float
    answered: float


def _service(index: int, *, with_address: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "type": "ClusterIP",
        "ports": [{"name": "tcp", "port": 80, "protocol": "TCP", "targetPort": 8080}],
    }
    if with_address:
        address = f"10.96.{index >> 8}.{index & 255}"
        spec |= {"clusterIP": address, "clusterIPs": [address]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": _name(index)}, "spec": spec}


def _name(index: int) -> str:
    return f"service-{index}"


def _endpoints(addresses: list[str]) -> list[dict[str, Any]]:
    conditions = {"ready": True, "serving": True, "terminating": False}
    return [{"addresses": [address], "conditions": conditions} for address in addresses]


def _addresses(cluster: int, service: int, count: int) -> list[str]:
    return [f"10.{(100 + cluster * 10 + n) % 256}.{service >> 8}.{service & 255}" for n in range(count)]


async def fill(client: Client, cluster: int, services: int, endpoints: int, *, with_addresses: bool) -> None:
    """Make the namespace, services and slices; `with_addresses` where the API server gives out no
    ClusterIPs.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(index: int) -> None:
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": _name(index), "labels": {"kubernetes.io/service-name": _name(index)}},
            "addressType": "IPv4",
            "ports": [{"name": "tcp", "port": 8080, "protocol": "TCP"}],
            "endpoints": _endpoints(_addresses(cluster, index, endpoints)),
        }
        async with gate:
            await client.create(_SERVICE, _service(index, with_address=with_addresses), NAMESPACE)
            await client.create(_SLICE, slice_, NAMESPACE)

    await _make_namespace(client)
    await asyncio.gather(*(one(index) for index in range(services)))


async def _make_namespace(client: Client) -> None:
    try:
        await client.create(
            _NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        )
    except ApiError as error:
        if error.status != 409:
            raise


async def change(client: Client, cluster: int, endpoints: int, address: str) -> Written:
    """Give the first service's first endpoint another address."""
    addresses = [address, *_addresses(cluster, 0, endpoints)[1:]]
    sent = time.monotonic()
    await client.patch(_SLICE, _name(0), {"endpoints": _endpoints(addresses)}, NAMESPACE)
    return Written(sent, time.monotonic())


async def empty(client: Client) -> None:
    """Take the namespace away, and with it everything."""
    await client.delete(_NAMESPACE, NAMESPACE)
