"""What is filled into a specimen is what protobuf would have written for each resource."""

from envoy.config.route.v3 import route_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.config.mesh import MeshConfig
from isthmus.lib.protobuf_template import Templates
from isthmus.model.service import Kind, Protocol, ServiceKey
from isthmus.translate import names, routes
from isthmus.translate.clusters import ClusterSpec, encoded_cluster, outbound_cluster
from isthmus.translate.listeners import ListenerSpec, Reading, encoded_listener, outbound_listener
from isthmus.translate.routes import VirtualHostSpec
from isthmus.translate.wire import serialise
from tests.support.thorough import examples

LABEL = st.from_regex(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
SERVICES = st.builds(ServiceKey, LABEL, LABEL)
PORTS = st.sampled_from([80, 8080, 15004])
ADDRESSES = st.sampled_from(["10.0.0.1", "10.100.200.250", "2001:db8::1"])
MESHES = [
    MeshConfig(access_log_file="/dev/stdout", trust_domain_aliases=("old",)),
    MeshConfig(enable_auto_mtls=False),
    MeshConfig(mixer_check_server="istio-policy.istio-system.svc.cluster.local:15004"),
]


def cluster_spec(
    service: ServiceKey, port: int, kind: Kind, protocol: Protocol, accounts: list[str], all_tls: bool
) -> ClusterSpec:
    name = names.outbound_cluster(service, port)
    outside = "bank.example" if kind is Kind.EXTERNAL_NAME else ""
    return ClusterSpec(name, service, kind, port, protocol, outside, tuple(sorted(accounts)), all_tls)


CLUSTERS = st.builds(
    cluster_spec,
    st.one_of(SERVICES, st.just(ServiceKey("istio-system", "istio-policy"))),
    PORTS,
    st.sampled_from(Kind),
    st.sampled_from(Protocol),
    st.lists(LABEL, unique=True, max_size=3),
    st.booleans(),
)
LISTENERS = st.builds(ListenerSpec, ADDRESSES, PORTS, st.sampled_from(Reading), SERVICES)
HOSTS = st.builds(VirtualHostSpec, SERVICES, PORTS, st.booleans(), st.lists(ADDRESSES, max_size=2).map(tuple))


def test_clusters_listeners_and_virtual_hosts_are_as_protobuf_writes_them() -> None:
    kept = [(mesh, secured, Templates(), Templates()) for mesh in MESHES for secured in (True, False)]
    of_hosts = Templates()

    @settings(max_examples=examples(100), deadline=None)
    @given(CLUSTERS, LISTENERS, HOSTS, st.booleans())
    def alike(cluster: ClusterSpec, listener: ListenerSpec, host: VirtualHostSpec, same: bool) -> None:
        for mesh, secured, of_clusters, of_listeners in kept:
            whole = serialise(outbound_cluster(cluster, mesh, secured=secured))
            assert encoded_cluster(cluster, mesh, secured=secured, templates=of_clusters) == whole
            whole = serialise(outbound_listener(listener, mesh))
            assert encoded_listener(listener, mesh, of_listeners) == whole
        domains = routes.domains(host, same_namespace=same)
        afresh = routes.virtual_host(host, domains, Templates())
        assert routes.virtual_host(host, domains, of_hosts) == afresh
        parsed = route_pb2.RouteConfiguration.FromString(afresh)
        assert serialise(parsed) == afresh
        assert [list(one.domains) for one in parsed.virtual_hosts] == [domains]

    alike()
