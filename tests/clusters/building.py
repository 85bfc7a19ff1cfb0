"""Short ways to write down parts of clusters, for tests."""

from isthmus.clusters.labels import shared_labels
from isthmus.clusters.parts import Backend, PodPart, ServicePart, ServicePort, SlicePart, Subset
from isthmus.clusters.store import ClusterStore, Derivations
from isthmus.kube.decoding import Ref
from isthmus.model.service import ClusterId, Kind, Network, Protocol, ServiceKey
from isthmus.model.workload import Health, Locality, Workload, WorkloadKey

WEST, EAST = ClusterId("west"), ClusterId("east")
ECHO = ServiceKey("demo", "echo")


def store_of(cluster: ClusterId = WEST) -> ClusterStore:
    return ClusterStore(cluster, Network(""), Derivations())


def service(
    name: str = "echo",
    *ports: ServicePort,
    kind: Kind = Kind.CLUSTER_IP,
    address: str = "10.0.0.1",
    selector: dict[str, str] | None = None,
    publish_not_ready: bool = False,
) -> ServicePart:
    return ServicePart(
        key=ServiceKey("demo", name),
        kind=kind,
        ports=ports or (ServicePort(80, "http", Protocol.HTTP, 8080),),
        addresses=(address,) if kind is Kind.CLUSTER_IP else (),
        selector=shared_labels({"app": name} if selector is None else selector),
        publish_not_ready=publish_not_ready,
    )


def backend(address: str, pod: str = "", health: Health = Health.READY, *, node: str = "") -> Backend:
    return Backend(address, health, pod, node)


def slice_of(
    name: str, *backends: Backend, ports: tuple[tuple[str, int], ...] = (("http", 8080),)
) -> SlicePart:
    return SlicePart(ServiceKey("demo", name), (Subset(ports, backends),))


def pod(
    name: str,
    address: str = "",
    *,
    cluster: ClusterId = WEST,
    labels: dict[str, str] | None = None,
    node: str = "n1",
    ports: tuple[tuple[str, int], ...] = (),
    account: str = "default",
) -> PodPart:
    workload = Workload(
        key=WorkloadKey(cluster, "demo", name),
        addresses=(address,) if address else (),
        labels=shared_labels({"app": "echo"} if labels is None else labels),
        annotations={},
        service_account=account,
        network=Network(""),
        locality=Locality(),
    )
    return PodPart(workload, node, ports)


def named(name: str) -> Ref:
    return Ref("demo", name)
