"""What a lab will consist of, as pure arithmetic: names, addresses and folders. Nothing is made here."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

SUPERNET = IPv4Network("10.213.0.0/16")
"""Everything in the lab has an address in here: one route on the host reaches all of it."""
HUB_NETNS = "isthmus-hub"
"""The namespace that routes between clusters, and between them and the host."""
HOST_INTERFACE = "isthmus0"
STATE = Path("/run/isthmus-lab")
MOST_CLUSTERS = 14
API_PORT = 6443
KUBELET_PORT = 10250
_HUB_BLOCK = 15


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """One cluster: a /20 of the lab's range, a network namespace and a folder, all of its own."""

    name: str
    index: int

    @property
    def block(self) -> IPv4Network:
        """The cluster's whole range."""
        return IPv4Network((int(SUPERNET.network_address) + (self.index << 12), 20))

    def _part(self, quarter: int) -> IPv4Network:
        return list(self.block.subnets(new_prefix=22))[quarter]

    @property
    def node_interface(self) -> IPv4Interface:
        """The node's address towards the hub (`.2` of a /24), where API server and kubelet listen too."""
        return IPv4Interface((int(self.block.network_address) + 2, 24))

    @property
    def hub_interface(self) -> IPv4Interface:
        """The hub's address towards this cluster."""
        return IPv4Interface((int(self.block.network_address) + 1, 24))

    @property
    def node_address(self) -> IPv4Address:
        """The node's address: InternalIP of the Node, host of the API server's URL."""
        return self.node_interface.ip

    @property
    def pod_cidr(self) -> IPv4Network:
        """Pod addresses; the first is the node's end of every pod's link."""
        return self._part(1)

    @property
    def service_cidr(self) -> IPv4Network:
        """ClusterIPs; the first is the Service `kubernetes`, the tenth the cluster's DNS."""
        return self._part(2)

    @property
    def dns_address(self) -> IPv4Address:
        """Where pods of this cluster ask for names."""
        return self.service_cidr[10]

    @property
    def api_url(self) -> str:
        """The API server's address, the same from the host and from pods of every cluster."""
        return f"https://{self.node_address}:{API_PORT}"

    @property
    def netns(self) -> str:
        """The network namespace of the cluster's node; pods have their own, named below it."""
        return f"isthmus-{self.name}"

    @property
    def node_name(self) -> str:
        """The name of its one Node."""
        return f"{self.name}-node"

    @property
    def directory(self) -> Path:
        """Everything of this cluster on disk: `pki/`, `kubeconfig`, `logs/`, `pods/`, API server data."""
        return STATE / self.name

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, inline data only, mode 0600."""
        return self.directory / "kubeconfig"


def plan_clusters(names: list[str]) -> list[ClusterPlan]:
    """Give each named cluster its place. Names must be checked before; order decides the addresses."""
    if len(names) > MOST_CLUSTERS:
        raise ValueError(f"{len(names)} clusters, but one lab holds at most {MOST_CLUSTERS}")
    return [ClusterPlan(name, index) for index, name in enumerate(names)]


def host_interfaces() -> tuple[IPv4Interface, IPv4Interface]:
    """The two ends of the link between host and hub: (host's, hub's), a /30 in the last block."""
    base = int(SUPERNET.network_address) + (_HUB_BLOCK << 12)
    return IPv4Interface((base + 1, 30)), IPv4Interface((base + 2, 30))
