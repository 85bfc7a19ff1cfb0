"""Kubernetes objects into parts, good ones and bad ones."""

from typing import Any

import pytest

from isthmus.clusters.addresses import endpoint_address
from isthmus.clusters.labels import shared_labels
from isthmus.clusters.reading import read_endpoints, read_locality, read_pod, read_service, read_slice
from isthmus.kube import objects
from isthmus.kube.objects import EndpointConditions, Metadata, ObjectReference, OwnerReference
from isthmus.model.service import Kind, Protocol, ServiceKey
from isthmus.model.workload import Health, Locality
from tests.clusters.building import WEST


def service_of(**spec: Any) -> objects.Service:
    return objects.Service(Metadata(name="echo", namespace="demo"), objects.ServiceSpec(**spec))


def slice_with(*endpoints: objects.SliceEndpoint, family: str = "IPv4", port: int | None = 80) -> Any:
    labels = {"kubernetes.io/service-name": "echo"}
    metadata = Metadata(name="echo-x", namespace="demo", labels=labels)
    return read_slice(
        objects.EndpointSlice(metadata, family, endpoints, (objects.EndpointPort(name="http", port=port),))
    )


def pod_of(**fields: Any) -> objects.Pod:
    spec = fields.pop("spec", objects.PodSpec(node_name="n1"))
    status = fields.pop("status", objects.PodStatus(phase="Running", pod_ip="10.0.0.1"))
    return objects.Pod(Metadata(name="a", namespace="demo", **fields), spec, status)


def test_kinds_of_services():
    assert read_service(service_of(cluster_ip="10.0.0.1")).kind is Kind.CLUSTER_IP
    assert read_service(service_of(type="NodePort", cluster_ip="10.0.0.1")).kind is Kind.CLUSTER_IP
    headless = read_service(service_of(cluster_ip="None", cluster_ips=("None",)))
    assert (headless.kind, headless.addresses) == (Kind.HEADLESS, ())
    external = read_service(
        service_of(type="ExternalName", external_name="example.com", selector={"app": "x"})
    )
    assert (external.kind, external.external_name) == (Kind.EXTERNAL_NAME, "example.com")
    assert external.selector == {}


def test_a_dual_stack_service_has_both_addresses():
    part = read_service(service_of(cluster_ip="10.0.0.1", cluster_ips=("10.0.0.1", "fd00::1")))
    assert part.addresses == ("10.0.0.1", "fd00::1")


def test_tcp_stands_for_a_number_that_udp_shares():
    ports = (
        objects.ServicePort(port=53, name="dns-tcp", protocol="TCP"),
        objects.ServicePort(port=53, name="dns", protocol="UDP"),
        objects.ServicePort(port=9153, name="metrics", target_port="web"),
    )
    for order in (ports, ports[::-1]):
        read = read_service(service_of(cluster_ip="10.0.0.10", ports=order)).ports
        assert [(p.number, p.name, p.protocol, p.target) for p in read] == [
            (53, "dns-tcp", Protocol.SNIFFED, 53),
            (9153, "metrics", Protocol.SNIFFED, "web"),
        ]


@pytest.mark.parametrize(
    ("ready", "serving", "terminating", "expected"),
    [
        (True, None, None, Health.READY),
        (None, None, None, Health.READY),
        (False, None, None, Health.UNREADY),
        (False, True, True, Health.DRAINING),
        (False, False, True, Health.UNREADY),
        (None, None, True, Health.DRAINING),
        (True, True, True, Health.READY),
    ],
)
def test_conditions(ready: bool | None, serving: bool | None, terminating: bool | None, expected: Health):
    conditions = EndpointConditions(ready, serving, terminating)
    part, _ = slice_with(objects.SliceEndpoint(("10.0.0.1",), conditions))
    assert part.subsets[0].backends[0].health is expected


def test_bad_addresses_are_rejected_by_name_and_the_others_stay():
    part, rejected = slice_with(
        objects.SliceEndpoint(("10.0.0.1",), target_ref=ObjectReference("Pod", "demo", "a")),
        objects.SliceEndpoint(("fd00::1", "10.0.0.2")),
        objects.SliceEndpoint(("localhost",), target_ref=ObjectReference("VM", "demo", "b")),
        objects.SliceEndpoint(("169.254.169.254",)),
    )
    assert [(b.address, b.pod) for b in part.subsets[0].backends] == [("10.0.0.1", "a"), ("10.0.0.2", "")]
    assert [r.reason.split(":")[0] for r in rejected] == [
        "endpoints[1].addresses[0]",
        "endpoints[2].addresses[0]",
        "endpoints[3].addresses[0]",
    ]
    assert (rejected[0].kind, str(rejected[0].ref)) == ("EndpointSlice", "demo/echo-x")


def test_a_thousand_bad_addresses_are_told_in_eleven_lines():
    _, rejected = slice_with(*(objects.SliceEndpoint((f"x{n}",)) for n in range(1000)))
    assert len(rejected) == 11
    assert rejected[-1].reason == "and 990 more like these"


def test_host_names_and_missing_ports_are_rejected():
    part, rejected = slice_with(objects.SliceEndpoint(("example.com",)), family="FQDN")
    assert part is None
    assert rejected[0].reason.startswith("addressType: FQDN is not supported")
    part, rejected = slice_with(objects.SliceEndpoint(("10.0.0.1",)), port=None)
    assert part.subsets[0].ports == ()
    assert rejected[0].reason.startswith("ports[0].port")


def test_a_slice_of_no_service_is_nobodys():
    assert read_slice(objects.EndpointSlice(Metadata(name="x", namespace="demo"))) == (None, ())


def test_endpoints_of_clusters_without_slices():
    subset = objects.EndpointSubset(
        addresses=(objects.EndpointAddress("10.0.0.1", target_ref=ObjectReference("Pod", "demo", "a")),),
        not_ready_addresses=(objects.EndpointAddress("10.0.0.2"), objects.EndpointAddress("nonsense")),
        ports=(objects.EndpointPort(name="http", port=8080),),
    )
    part, rejected = read_endpoints(objects.Endpoints(Metadata(name="echo", namespace="demo"), (subset,)))
    assert part.service == ServiceKey("demo", "echo")
    assert [(b.address, b.health) for b in part.subsets[0].backends] == [
        ("10.0.0.1", Health.READY),
        ("10.0.0.2", Health.UNREADY),
    ]
    assert rejected[0].reason.startswith("subsets[0].notReadyAddresses[1].ip")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "0.0.0.0", "fe80::1", "224.0.0.1", "::ffff:127.0.0.1"]
)
def test_addresses_that_mean_oneself_are_refused(address: str):
    with pytest.raises(ValueError, match="cannot be an endpoint"):
        endpoint_address(address)


def test_an_address_of_an_interface_is_refused():
    with pytest.raises(ValueError, match="interface"):
        endpoint_address("fd00::1%eth0")


def test_ipv6_is_canonical():
    assert endpoint_address("FD00:0::1", "IPv6") == "fd00::1"


def test_a_heartbeat_leaves_a_pod_equal():
    quiet = pod_of(annotations={"cni.example/status": "1"}, resource_version="1")
    later = pod_of(
        annotations={"cni.example/status": "2"},
        resource_version="2",
        status=objects.PodStatus(
            phase="Running", pod_ip="10.0.0.1", conditions=(objects.Condition("Ready", "True"),)
        ),
    )
    assert read_pod(WEST, quiet) == read_pod(WEST, later)
    meant = pod_of(annotations={"sidecar.istio.io/inject": "true"})
    assert read_pod(WEST, quiet) != read_pod(WEST, meant)


def test_a_finished_pod_is_none():
    assert read_pod(WEST, pod_of(status=objects.PodStatus(phase="Succeeded", pod_ip="10.0.0.1"))) is None


def test_a_pods_owner_is_its_deployment():
    owners = (OwnerReference("Other", "x"), OwnerReference("ReplicaSet", "echo-5d9c", controller=True))
    labels = {"pod-template-hash": "5d9c"}
    part = read_pod(WEST, pod_of(owner_references=owners, labels=labels))
    assert part is not None
    assert part.workload.owner == "echo"
    part = read_pod(WEST, pod_of(owner_references=(OwnerReference("Job", "run-1", controller=True),)))
    assert part is not None
    assert part.workload.owner == "run-1"


def test_a_pod_tells_its_named_ports_account_and_addresses():
    ports = (objects.ContainerPort(8080, "web"), objects.ContainerPort(9090))
    part = read_pod(WEST, pod_of(spec=objects.PodSpec("n1", "robot", True, (objects.Container("c", ports),))))
    assert part is not None
    assert (part.ports, part.node, part.own_address) == ((("web", 8080),), "n1", False)
    assert (part.workload.service_account, part.workload.addresses) == ("robot", ("10.0.0.1",))


def test_equal_labels_are_one_object():
    assert shared_labels({"a": "1", "b": "2"}) is shared_labels({"b": "2", "a": "1"})


@pytest.mark.parametrize("domain", ["topology.kubernetes.io", "failure-domain.beta.kubernetes.io"])
def test_localities_by_new_and_old_labels(domain: str):
    labels = {f"{domain}/region": "eu", f"{domain}/zone": "eu-a", "topology.istio.io/subzone": "rack"}
    assert read_locality(objects.Node(Metadata(name="n", labels=labels))) == Locality("eu", "eu-a", "rack")
    assert read_locality(objects.Node(Metadata(name="n"))) == Locality()
