"""The name table: host names and addresses, by which Istio's agent answers DNS in its pod (NDS).

So a name also means something where only another cluster has the Service. Encoded by hand; field numbers are
those of `istio.networking.nds.v1.NameTable` (Istio: pkg/dns/proto/nds.proto, and pkg/dns/server for the
rules).
"""

from collections.abc import Collection, Container, Iterable, Iterator, Sequence

from isthmus.lib.protobuf import text
from isthmus.model.resources import NAME_TABLE
from isthmus.model.service import ClusterId, Kind, Service, ServiceKey
from isthmus.model.view import MeshView
from isthmus.model.workload import Endpoint, Health
from isthmus.translate.exports import Exports

THE_ONE = ""
"""The only name of a resource of this type."""
_REGISTRY = "Kubernetes"


class NameTable:
    """The one table of all proxies of a cluster that see the same: what a namespace sees of `exports`."""

    type_url = NAME_TABLE

    def __init__(self, entries: "TableEntries", exports: Exports, namespace: str) -> None:
        self._entries = entries
        self._exports = exports
        self._namespace = namespace

    def names(self) -> Collection[str]:
        """The one."""
        return (THE_ONE,)

    def has(self, name: str) -> bool:
        """Whether it is the one."""
        return name == THE_ONE

    def body(self, name: str) -> bytes:
        """The table, in the order of the services."""
        entries, exports, namespace = self._entries, self._exports, self._namespace
        return b"".join([entries.of(key) for key in entries.services() if exports.sees(namespace, key)])


class TableEntries:
    """What each service adds to the tables of a cluster. `local` are the cluster-local services.

    It is remembered until it is forgotten, as tables are made anew at each change.
    """

    def __init__(self, view: MeshView, cluster: ClusterId, local: Container[ServiceKey]) -> None:
        self._view = view
        self._cluster = cluster
        self._local = local
        self._made: dict[ServiceKey, bytes] = {}

    def services(self) -> Sequence[ServiceKey]:
        """All of them, in the order of tables."""
        return sorted(self._view.services())

    def forget(self, services: Iterable[ServiceKey]) -> None:
        """Their names or addresses changed, or they are gone."""
        for key in services:
            self._made.pop(key, None)

    def of(self, key: ServiceKey) -> bytes:
        """As fields of a table."""
        made = self._made.get(key)
        if made is None:
            fields = [text(1, text(1, host) + text(2, entry)) for host, entry in self._entries(key)]
            made = self._made[key] = b"".join(fields)
        return made

    def _entries(self, key: ServiceKey) -> Iterator[tuple[str, bytes]]:
        service = self._view.service(key)
        if service is None or service.kind is Kind.EXTERNAL_NAME:
            return
        if service.kind is Kind.CLUSTER_IP:
            addresses = _addresses(service, self._cluster)
            if addresses:
                yield key.hostname(), _named(addresses, key.name, key.namespace)
            return
        pods = self._pods(key)
        if pods:
            addresses = sorted({pod.address for pod in pods})
            yield key.hostname(), _named(addresses, key.name, key.namespace)
        for own_name, some in _by_name(pods, self._cluster):
            host = f"{own_name}.{key.hostname()}"
            yield host, _named(some, f"{own_name}.{key.name}", key.namespace)

    def _pods(self, key: ServiceKey) -> Sequence[Endpoint]:
        """Those whose addresses a headless service's name means: ready, and reached from here directly."""
        network, _ = self._view.placement(self._cluster)
        alone = key in self._local
        return [
            each
            for some in self._view.endpoints(key).values()
            for each in some
            if each.health is Health.READY
            and each.network == network
            and (not alone or each.cluster == self._cluster)
        ]


def _addresses(service: Service, cluster: ClusterId) -> Sequence[str]:
    """Its virtual addresses in that cluster; where it has none, in the first cluster that has one."""
    own = service.addresses.get(cluster, ())
    return own or next((service.addresses[each] for each in sorted(service.addresses)), ())


def _by_name(pods: Iterable[Endpoint], cluster: ClusterId) -> Iterator[tuple[str, Sequence[str]]]:
    """Addresses by the pods' own host names; a name means a pod of the own cluster if there is one."""
    found: dict[str, dict[bool, set[str]]] = {}
    for pod in pods:
        if pod.hostname:
            found.setdefault(pod.hostname, {}).setdefault(pod.cluster == cluster, set()).add(pod.address)
    for name, places in sorted(found.items()):
        yield name, sorted(places.get(True) or places[False])


def _named(addresses: Iterable[str], short_name: str, namespace: str) -> bytes:
    """A NameInfo."""
    ips = b"".join(text(1, each) for each in addresses)
    return ips + text(2, _REGISTRY) + text(3, short_name) + text(4, namespace)
