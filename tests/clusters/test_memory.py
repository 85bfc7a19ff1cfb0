"""What an endpoint weighs, with its pod, in store and view: the design's budget for all of it is 4 KiB."""

import tracemalloc

from isthmus.clusters.intake import Intake
from isthmus.clusters.store import ClusterStore
from isthmus.clusters.view import JoinedView
from isthmus.kube import objects
from isthmus.kube.objects import Metadata, ObjectReference
from isthmus.kube.watch import Upserted
from isthmus.model.service import ClusterId

CLUSTERS, SERVICES, PODS = 2, 50, 10
MOST = 2048


def test_an_endpoint_takes_less_than_half_of_its_budget():
    tracemalloc.start()
    try:
        view = JoinedView({})
        before, _ = tracemalloc.get_traced_memory()
        stores = {ClusterId(f"c{index}"): filled(view, index) for index in range(CLUSTERS)}
        view.hold(stores)
        endpoints = sum(len(e) for key in view.services() for e in view.endpoints(key).values())
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert endpoints == CLUSTERS * SERVICES * PODS
    assert (after - before) / endpoints < MOST


def filled(view: JoinedView, cluster: int) -> ClusterStore:
    intake = Intake(
        view.new_store(ClusterId(f"c{cluster}")), control_namespace="istio-system", changed=view.changed
    )
    for index in range(SERVICES):
        name = f"service-{index}"
        intake.service(Upserted(service(name)))
        addresses = [f"10.{cluster}.{index}.{pod}" for pod in range(PODS)]
        pods = [f"{name}-5d9c7b8f6-{pod:05}" for pod in range(PODS)]
        for pod, address in zip(pods, addresses, strict=True):
            intake.pod(Upserted(pod_of(name, pod, address)))
        endpoints = tuple(
            objects.SliceEndpoint((address,), target_ref=ObjectReference("Pod", "demo", pod), zone="a")
            for pod, address in zip(pods, addresses, strict=True)
        )
        metadata = Metadata(f"{name}-x", "demo", labels={"kubernetes.io/service-name": name})
        ports = (objects.EndpointPort("http", 8080),)
        intake.slice(Upserted(objects.EndpointSlice(metadata, "IPv4", endpoints, ports)))
    return intake.store


def service(name: str) -> objects.Service:
    ports = (objects.ServicePort(80, "http", target_port=8080),)
    spec = objects.ServiceSpec(cluster_ip="10.0.0.1", ports=ports, selector={"app": name})
    return objects.Service(Metadata(name, "demo"), spec)


def pod_of(service: str, name: str, address: str) -> objects.Pod:
    labels = {"app": service, "version": "v1", "pod-template-hash": "5d9c7b8f6"}
    annotations = {"sidecar.istio.io/status": "injected", "cni.example/address": address}
    return objects.Pod(
        Metadata(name, "demo", labels=labels, annotations=annotations),
        objects.PodSpec("node-1", service),
        objects.PodStatus("Running", address),
    )
