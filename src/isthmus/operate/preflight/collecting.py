"""Facts of one cluster, asked of its API server. It makes and changes nothing.

A list that may not be read is noted and leaves the others. Where nothing else tells the service range, the
dry run of a Service that no server can take does: Kubernetes names the range as it refuses.
"""

import asyncio
import ssl
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aiohttp
import msgspec

from isthmus.kube.access import Access
from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import CONFIG_MAP, POD, SERVICE, Kind, untyped
from isthmus.kube.objects import Pod, Service
from isthmus.kube.tls import make_context
from isthmus.operate.asking import NAMESPACES
from isthmus.operate.preflight.facts import Addresses, ClusterFacts, Range
from isthmus.operate.preflight.ranges import (
    kubeadm_ranges,
    node_ranges,
    read_addresses,
    refused_range,
    service_cidr_ranges,
)
from isthmus.operate.preflight.review import missing_rights

T = TypeVar("T")

_NODES = untyped("", "v1", "nodes", "Node", namespaced=False)
_SERVICE_CIDRS = untyped("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)
_NOWHERE = "192.0.2.1"
"""TEST-NET-1 (RFC 5737): in no cluster's service range."""
_PATIENCE = 10.0


class _Version(msgspec.Struct, rename="camel"):
    git_version: str = ""


async def collect(
    name: str,
    access: Access,
    *,
    namespace: str,
    control: bool,
    pods: tuple[Range, ...],
    services: tuple[Range, ...],
) -> ClusterFacts:
    """All facts of a cluster. `pods` and `services` are ranges that were given, which then count alone."""
    try:
        async with asyncio.timeout(6 * _PATIENCE), running_client(access, timeout=_PATIENCE) as client:
            return await _Collector(client).facts(name, access, namespace, control, pods, services)
    except (ApiError, Unreachable) as error:
        return ClusterFacts(name, access.server, trouble=str(error))
    except msgspec.DecodeError:
        return ClusterFacts(name, access.server, trouble="its answers make no sense")
    except TimeoutError:
        return ClusterFacts(name, access.server, trouble=f"it took longer than {6 * _PATIENCE:g} s")


class _Collector:
    """What is asked of one API server, and what it would not answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._unread: list[str] = []

    async def facts(
        self,
        name: str,
        access: Access,
        namespace: str,
        control: bool,
        pods: tuple[Range, ...],
        services: tuple[Range, ...],
    ) -> ClusterFacts:
        version = msgspec.json.decode(await self._client.request("GET", "/version"), type=_Version)
        kube_system = await self._client.get(NAMESPACES, "kube-system")
        subnets = await self._kubeadm()
        nodes = await self._list(_NODES)
        all_pods, all_services = await self._list(POD), await self._list(SERVICE)
        return ClusterFacts(
            name=name,
            server=access.server,
            version=version.git_version,
            identity=str(kube_system["metadata"]["uid"]),
            slices=await self._slices(),
            skew=await read_skew(access),
            pods=Addresses(pods or subnets[0] or node_ranges(nodes), _pod_addresses(all_pods)),
            services=Addresses(
                services or subnets[1] or await self._service_ranges(), _service_addresses(all_services)
            ),
            missing_rights=await missing_rights(self._client, namespace, control=control),
            unread=tuple(self._unread),
        )

    async def _list(self, kind: Kind[T]) -> tuple[T, ...]:
        try:
            return (await self._client.list(kind)).items
        except ApiError as error:
            self._unread.append(f"{kind.plural}: {error.message or error.reason}")
            return ()

    async def _kubeadm(self) -> tuple[tuple[Range, ...], tuple[Range, ...]]:
        try:
            return kubeadm_ranges((await self._client.get(CONFIG_MAP, "kubeadm-config", "kube-system")).data)
        except ApiError:
            return (), ()

    async def _slices(self) -> str:
        for version in ("v1", "v1beta1"):
            if await self._client.serves("discovery.k8s.io", version, "endpointslices"):
                return f"discovery.k8s.io/{version}"
        return ""

    async def _service_ranges(self) -> tuple[Range, ...]:
        if await self._client.serves("networking.k8s.io", "v1", "servicecidrs"):
            found = service_cidr_ranges(await self._list(_SERVICE_CIDRS))
            if found:
                return found
        service: Mapping[str, Any] = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "isthmus-preflight"},
            "spec": {"clusterIP": _NOWHERE, "ports": [{"port": 80}]},
        }
        try:
            await self._client.request(
                "POST", SERVICE.path("default"), params={"dryRun": "All"}, body=service
            )
        except ApiError as error:
            return refused_range(error.message)
        return ()


async def read_skew(access: Access) -> float | None:
    """Seconds by which the API server's clock is ahead of this machine's, by its Date header (RFC 9110)."""
    try:
        context = make_context(access)
        before = time.time()
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE)) as session,
            session.get(
                f"{access.server}/version", ssl=context or True, server_hostname=access.tls_server_name
            ) as answer,
        ):
            date = parsedate_to_datetime(answer.headers["Date"])
    except (aiohttp.ClientError, OSError, ssl.SSLError, ValueError, KeyError):
        return None
    # The header is cut to whole seconds: half of one is the best guess.
    return date.timestamp() + 0.5 - (before + time.time()) / 2


def _pod_addresses(pods: Iterable[Pod]) -> Any:
    own = (one for one in pods if not one.spec.host_network and one.status.phase in ("Pending", "Running"))
    return read_addresses(address for one in own for address in one.addresses)


def _service_addresses(services: Iterable[Service]) -> Any:
    return read_addresses(
        address for one in services for address in (one.spec.cluster_ips or (one.spec.cluster_ip,))
    )
