"""The incremental view against a model that derives everything from scratch, by loops over everything.

A reader remembers what it read and forgets only what a change names: it must never be wrong.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from isthmus.clusters.join import merge_service
from isthmus.clusters.parts import Backend, PodPart, ServicePart, ServicePort, SlicePart, Subset
from isthmus.clusters.store import ClusterStore
from isthmus.clusters.view import JoinedView
from isthmus.kube.decoding import Ref
from isthmus.model.service import ClusterId, Kind, Network, Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import Endpoint, Health, InboundPort, Locality, Workload, WorkloadKey
from tests.clusters.building import pod, service
from tests.support.thorough import examples

CLUSTERS = (ClusterId("east"), ClusterId("west"))
SERVICES, SLICES, PODS, NODES = ("echo", "other"), ("s1", "s2", "s3"), ("a", "b", "c"), ("n1", "n2", "")
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
APPS: tuple[dict[str, str], ...] = (
    {"app": "echo"},
    {"app": "other"},
    {"app": "echo", "topology.istio.io/network": "lan"},
    {},
)
KINDS = (Kind.CLUSTER_IP, Kind.CLUSTER_IP, Kind.CLUSTER_IP, Kind.HEADLESS, Kind.EXTERNAL_NAME)
KEYS = [ServiceKey("demo", name) for name in SERVICES]
WORKLOADS = [WorkloadKey(cluster, "demo", name) for cluster, name in product(CLUSTERS, PODS)]

ports = st.lists(
    st.builds(
        ServicePort,
        st.sampled_from((80, 90)),
        st.sampled_from(("http", "http", "tcp")),
        st.sampled_from((Protocol.HTTP, Protocol.TCP, Protocol.SNIFFED)),
        st.sampled_from((8080, 9090, "web")),
    ),
    min_size=1,
    max_size=2,
    unique_by=(lambda port: port.number, lambda port: port.name),
).map(lambda ports: tuple(sorted(ports, key=lambda port: port.number)))


def _service(
    name: str, ports: tuple[ServicePort, ...], kind: Kind, selector: dict[str, str], early: bool
) -> ServicePart:
    return service(name, *ports, kind=kind, selector=selector, publish_not_ready=early)


services = st.builds(
    _service, st.sampled_from(SERVICES), ports, st.sampled_from(KINDS), st.sampled_from(APPS), st.booleans()
)
backends = st.builds(
    Backend,
    st.sampled_from(ADDRESSES),
    st.sampled_from(Health),
    st.sampled_from((*PODS, "")),
    st.sampled_from(NODES),
    st.sampled_from(("z1", "")),
)
subsets = st.builds(
    Subset,
    st.sampled_from(((("http", 8080),), (("http", 8080), ("tcp", 9090)))),
    st.lists(backends, min_size=1, max_size=3).map(tuple),
)
slices = st.builds(SlicePart, st.sampled_from(KEYS), st.lists(subsets, min_size=1, max_size=2).map(tuple))
localities = st.builds(Locality, st.sampled_from(("r1", "r2", "")), st.just("z"))


def once(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Each address and port once a network: of the first cluster that names a Pod, else of the first."""
    seen: set[tuple[str, str, int]] = set()
    kept: list[Endpoint] = []
    for each in sorted(endpoints, key=lambda each: each.workload is None and not each.awaited):
        place = each.network, each.address, each.port
        if place not in seen:
            seen.add(place)
            kept.append(each)
    return [each for each in endpoints if any(each is one for one in kept)]


def in_order(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    return sorted(endpoints, key=lambda each: (each.cluster, each.network, each.address, each.port))


@dataclass
class Truth:
    """One cluster, as plain tables."""

    network: Network | None = None
    services: dict[ServiceKey, ServicePart] = field(default_factory=dict[ServiceKey, ServicePart])
    slices: dict[str, SlicePart] = field(default_factory=dict[str, SlicePart])
    pods: dict[str, PodPart] = field(default_factory=dict[str, PodPart])
    nodes: dict[str, Locality] = field(default_factory=dict[str, Locality])

    def workload(self, name: str) -> Workload | None:
        part = self.pods.get(name)
        if part is None:
            return None
        network = part.workload.labels.get("topology.istio.io/network", self.network or "default")
        place = self.nodes.get(part.node, Locality())
        return replace(part.workload, network=Network(network), locality=place, node=part.node)

    def endpoints(self, cluster: ClusterId, key: ServiceKey) -> dict[int, list[Endpoint]]:
        part = self.services.get(key)
        if part is None or part.kind is Kind.EXTERNAL_NAME:
            return {}
        found: dict[tuple[int, str, int], list[Endpoint]] = {}
        for piece in (piece for piece in self.slices.values() if piece.service == key):
            for subset, port in product(piece.subsets, part.ports):
                for (name, target), each in product(subset.ports, subset.backends):
                    if name == port.name:
                        endpoint = self.endpoint(cluster, part, each, target)
                        found.setdefault((port.number, each.address, target), []).append(endpoint)
        best = {where: min(endpoints, key=preference) for where, endpoints in found.items()}
        return {
            number: [best[where] for where in sorted(best) if where[0] == number]
            for number in sorted({where[0] for where in best})
        }

    def endpoint(self, cluster: ClusterId, part: ServicePart, each: Backend, target: int) -> Endpoint:
        workload = self.workload(each.pod)
        if workload is None:
            network, place = self.network or Network("default"), self.nodes.get(each.node, Locality())
        else:
            network, place = workload.network, workload.locality
        if place == Locality():
            place = Locality(zone=each.zone)
        published = part.publish_not_ready and each.health is Health.UNREADY
        health = Health.READY if published else each.health
        return Endpoint(
            each.address,
            target,
            health,
            cluster,
            network,
            place,
            workload,
            each.hostname,
            awaited=bool(each.pod) and workload is None,
        )

    def accounts(self, key: ServiceKey) -> set[str]:
        named = {
            each.pod
            for piece in self.slices.values()
            if piece.service == key
            for subset in piece.subsets
            for each in subset.backends
        }
        return {part.workload.service_account for name, part in self.pods.items() if name in named}

    def inbound(self, workload: Workload) -> list[InboundPort]:
        named = dict(self.pods[workload.key.name].ports)
        found: list[InboundPort] = []
        for key, part in self.services.items():
            if not part.selector or any(workload.labels.get(k) != v for k, v in part.selector.items()):
                continue
            for port in part.ports:
                target = named.get(port.target) if isinstance(port.target, str) else port.target
                if target is not None:
                    found.append(InboundPort(key, port.number, target, port.name, port.protocol))
        return sorted(found, key=lambda port: (port.target_port, port.service, port.service_port))


def preference(endpoint: Endpoint) -> Any:
    name = endpoint.workload.key.name if endpoint.workload else ""
    order = [Health.READY, Health.DRAINING, Health.UNREADY].index(endpoint.health)
    return order, not name, not endpoint.awaited, endpoint.locality, name, endpoint.hostname


class ViewAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.view = JoinedView({cluster: Network("default") for cluster in CLUSTERS})
        self.truths = {cluster: Truth() for cluster in CLUSTERS}
        self.stores = {cluster: self.view.new_store(cluster) for cluster in CLUSTERS}
        self.held = set(CLUSTERS)
        self.reader: dict[object, object] = {}
        self.subscription = self.view.subscribe(self.forget)
        self.subscription.__enter__()
        self.hold()
        for cluster, name in product(CLUSTERS, SERVICES):
            self.put_service(cluster, service(name))

    def forget(self, changes: Changes) -> None:
        assert changes != Changes()
        for key in changes.services:
            self.reader.pop(("service", key), None)
        for key in changes.services | changes.endpoints:
            self.reader.pop(("endpoints", key), None)
        assert changes.accounts <= changes.services | changes.endpoints
        for key in changes.services | changes.accounts:
            self.reader.pop(("accounts", key), None)
        for key in changes.workloads:
            self.reader.pop(key, None)

    def change(self, cluster: ClusterId, changes: Changes) -> None:
        if changes != Changes():
            self.view.changed(self.stores[cluster], changes)

    def hold(self) -> None:
        self.view.hold({cluster: self.stores[cluster] for cluster in self.held})

    @rule(cluster=st.sampled_from(CLUSTERS), part=services)
    def put_service(self, cluster: ClusterId, part: ServicePart) -> None:
        self.truths[cluster].services[part.key] = part
        self.change(cluster, self.stores[cluster].put_service(part))

    @rule(cluster=st.sampled_from(CLUSTERS), key=st.sampled_from(KEYS))
    def drop_service(self, cluster: ClusterId, key: ServiceKey) -> None:
        self.truths[cluster].services.pop(key, None)
        self.change(cluster, self.stores[cluster].drop_service(key))

    @rule(cluster=st.sampled_from(CLUSTERS), name=st.sampled_from(SLICES), part=slices)
    def put_slice(self, cluster: ClusterId, name: str, part: SlicePart) -> None:
        self.truths[cluster].slices[name] = part
        self.change(cluster, self.stores[cluster].put_slice(Ref("demo", name), part))

    @rule(cluster=st.sampled_from(CLUSTERS), name=st.sampled_from(SLICES))
    def drop_slice(self, cluster: ClusterId, name: str) -> None:
        self.truths[cluster].slices.pop(name, None)
        self.change(cluster, self.stores[cluster].drop_slice(Ref("demo", name)))

    @rule(
        cluster=st.sampled_from(CLUSTERS),
        name=st.sampled_from(PODS),
        address=st.sampled_from((*ADDRESSES, "")),
        labels=st.sampled_from(APPS),
        node=st.sampled_from(NODES),
        port=st.sampled_from(((("web", 8081),), ())),
        account=st.sampled_from(("blue", "green")),
    )
    def put_pod(
        self,
        cluster: ClusterId,
        name: str,
        address: str,
        labels: dict[str, str],
        node: str,
        port: tuple[tuple[str, int], ...],
        account: str,
    ) -> None:
        part = pod(name, address, cluster=cluster, labels=labels, node=node, ports=port, account=account)
        self.truths[cluster].pods[name] = part
        self.change(cluster, self.stores[cluster].put_pod(part))

    @rule(cluster=st.sampled_from(CLUSTERS), name=st.sampled_from(PODS))
    def drop_pod(self, cluster: ClusterId, name: str) -> None:
        self.truths[cluster].pods.pop(name, None)
        self.change(cluster, self.stores[cluster].drop_pod(Ref("demo", name)))

    @rule(cluster=st.sampled_from(CLUSTERS), name=st.sampled_from(("n1", "n2")), place=localities)
    def put_node(self, cluster: ClusterId, name: str, place: Locality) -> None:
        self.truths[cluster].nodes[name] = place
        self.change(cluster, self.stores[cluster].put_node(name, place))

    @rule(cluster=st.sampled_from(CLUSTERS), name=st.sampled_from(("n1", "n2")))
    def drop_node(self, cluster: ClusterId, name: str) -> None:
        self.truths[cluster].nodes.pop(name, None)
        self.change(cluster, self.stores[cluster].drop_node(name))

    @rule(cluster=st.sampled_from(CLUSTERS), network=st.sampled_from((Network("lan"), Network("wan"), None)))
    def put_network(self, cluster: ClusterId, network: Network | None) -> None:
        self.truths[cluster].network = network
        self.change(cluster, self.stores[cluster].put_network(network))

    @rule(cluster=st.sampled_from(CLUSTERS))
    def join_or_leave(self, cluster: ClusterId) -> None:
        self.held ^= {cluster}
        self.hold()

    @rule(
        cluster=st.sampled_from(CLUSTERS),
        name=st.sampled_from((*PODS, *SLICES)),
        new=st.one_of(services, slices, st.none()),
    )
    def rotate(self, cluster: ClusterId, name: str, new: ServicePart | SlicePart | None) -> None:
        """A new store takes over; while it was filled, something changed."""
        truth = self.truths[cluster]
        match new:
            case ServicePart():
                truth.services[new.key] = new
            case SlicePart():
                truth.slices[name] = new
            case None:
                truth.pods.pop(name, None)
                truth.slices.pop(name, None)
        self.stores[cluster] = filled(self.view.new_store(cluster), truth)
        self.hold()

    @invariant()
    def a_reader_that_forgets_what_changed_is_never_wrong(self) -> None:
        for key in KEYS:
            there = {c: self.truths[c] for c in CLUSTERS if c in self.held and key in self.truths[c].services}
            merged = merge_service(key, {c: t.services[key] for c, t in there.items()}) if there else None
            self.check(("service", key), self.view.service(key), merged)
            assert (key in self.view.services()) == bool(there)
            endpoints: dict[int, list[Endpoint]] = {}
            for cluster, truth in there.items():
                for number, found in truth.endpoints(cluster, key).items():
                    endpoints.setdefault(number, []).extend(found)
            read = {number: in_order(found) for number, found in self.view.endpoints(key).items()}
            self.check(("endpoints", key), read, {n: in_order(once(found)) for n, found in endpoints.items()})
            accounts = {account for truth in there.values() for account in truth.accounts(key)}
            self.check(("accounts", key), set(self.view.accounts(key)), accounts)
        for key in WORKLOADS:
            truth = self.truths[key.cluster] if key.cluster in self.held else Truth()
            workload = truth.workload(key.name)
            read = self.view.workload(key)
            inbound = None if read is None else list(self.view.inbound_ports(read))
            self.check(key, (read, inbound), (workload, workload and truth.inbound(workload)))
            for address in workload.addresses if workload else ():
                found = self.view.workload_at(key.cluster, address)
                assert found is not None
                assert address in found.addresses

    def check(self, what: object, read: object, true: object) -> None:
        assert read == true
        assert self.reader.setdefault(what, read) == true


def filled(store: ClusterStore, truth: Truth) -> ClusterStore:
    store.put_network(truth.network)
    for name, place in truth.nodes.items():
        store.put_node(name, place)
    for part in truth.services.values():
        store.put_service(part)
    for name, piece in truth.slices.items():
        store.put_slice(Ref("demo", name), piece)
    for each in truth.pods.values():
        store.put_pod(each)
    return store


TestViewAgainstModel = ViewAgainstModel.TestCase
TestViewAgainstModel.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)
