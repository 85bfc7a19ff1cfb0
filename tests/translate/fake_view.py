"""A joined view in memory that tests fill by hand, and short ways to say what is in it."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter

from isthmus.model.exports import ExportTo
from isthmus.model.proxy import Proxy
from isthmus.model.service import ClusterId, Kind, Network, Port, Protocol, Service, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import (
    Endpoint,
    EndpointGroup,
    Health,
    InboundPort,
    Locality,
    Workload,
    WorkloadKey,
)

WEST = ClusterId("west")
EAST = ClusterId("east")
FLAT = Network("")


class FakeView:
    """`model.view.MeshView` over dictionaries. `reads` counts how often each question was asked."""

    def __init__(self) -> None:
        self.known: dict[ServiceKey, Service] = {}
        self.backing: dict[ServiceKey, dict[int, list[Endpoint]]] = {}
        self.pods: dict[WorkloadKey, Workload] = {}
        self.selecting: dict[WorkloadKey, list[InboundPort]] = {}
        self.networks: dict[ClusterId, Network] = {}
        self.reads = 0

    def put(self, service: Service, *endpoints: Endpoint) -> ServiceKey:
        """Add a service, or replace it; the endpoints stand behind each of its ports."""
        self.known[service.key] = service
        self.backing[service.key] = {port.number: list(endpoints) for port in service.ports}
        return service.key

    def services(self) -> Collection[ServiceKey]:
        return self.known.keys()

    def service(self, key: ServiceKey) -> Service | None:
        self.reads += 1
        return self.known.get(key)

    def endpoints(self, key: ServiceKey) -> Mapping[int, Sequence[Endpoint]]:
        self.reads += 1
        return self.backing.get(key, {})

    def groups(self, key: ServiceKey) -> Mapping[int, Sequence[EndpointGroup]]:
        """One for each cluster, as no slice is of two."""
        return {
            number: [EndpointGroup(each) for _, each in groupby(some, attrgetter("cluster"))]
            for number, some in self.endpoints(key).items()
        }

    def workloads(self) -> Collection[WorkloadKey]:
        return self.pods.keys()

    def accounts(self, key: ServiceKey) -> Collection[str]:
        pods = (each.workload for some in self.backing.get(key, {}).values() for each in some)
        return frozenset(pod.service_account for pod in pods if pod is not None)

    def workload(self, key: WorkloadKey) -> Workload | None:
        return self.pods.get(key)

    def workload_at(self, cluster: ClusterId, address: str) -> Workload | None:
        for key, pod in self.pods.items():
            if key.cluster == cluster and address in pod.addresses:
                return pod
        return None

    def inbound_ports(self, workload: Workload) -> Sequence[InboundPort]:
        return self.selecting.get(workload.key, [])

    def placement(self, cluster: ClusterId) -> tuple[Network, Locality]:
        return self.networks.get(cluster, FLAT), Locality()

    @contextmanager
    def subscribe(self, listener: Callable[[Changes], None]) -> Generator[None]:
        yield


def service(
    name: str,
    *ports: tuple[int, Protocol],
    namespace: str = "demo",
    west: str = "",
    east: str = "",
    kind: Kind = Kind.CLUSTER_IP,
    external_name: str = "",
    export_to: ExportTo = (),
) -> Service:
    """A service in both clusters; `west` and `east` are its ClusterIPs there."""
    addresses = {cluster: (ip,) for cluster, ip in ((WEST, west), (EAST, east)) if ip}
    return Service(
        key=ServiceKey(namespace, name),
        kind=kind,
        ports=tuple(Port(number, f"port-{number}", protocol) for number, protocol in ports),
        addresses=addresses,
        clusters=frozenset({WEST, EAST}),
        external_name=external_name,
        export_to=export_to,
    )


def endpoint(
    address: str,
    *,
    port: int = 8080,
    cluster: ClusterId = WEST,
    health: Health = Health.READY,
    zone: str = "",
    network: Network = FLAT,
    weight: int = 1,
    behind: Workload | None = None,
) -> Endpoint:
    """One endpoint of whatever it is put behind."""
    locality = Locality("r1", zone) if zone else Locality()
    return Endpoint(address, port, health, cluster, network, locality, behind, weight=weight)


def pod(
    name: str,
    address: str,
    *,
    cluster: ClusterId = WEST,
    namespace: str = "demo",
    account: str = "default",
    tls: bool = False,
    **labels: str,
) -> Workload:
    """A pod with nothing special about it. `tls`: with a sidecar that takes mutual TLS."""
    key = WorkloadKey(cluster, namespace, name)
    own = labels | ({"security.istio.io/tlsMode": "istio"} if tls else {})
    return Workload(key, (address,), own, {}, account, FLAT, Locality())


def proxy(
    name: str, address: str = "10.0.0.9", *, cluster: ClusterId = WEST, namespace: str = "demo"
) -> Proxy:
    """The sidecar of the pod of that name."""
    node_id = f"sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"
    return Proxy(node_id, "sidecar", address, name, namespace, cluster, {})
