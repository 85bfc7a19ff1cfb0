"""What an endpoint weighs, with its pod, from the bytes of a list to the view: the design's budget is 4 KiB.

Nothing that the process keeps is left out: not what the reflectors remember, nor what decoding shares.
"""

import tracemalloc
from typing import Any

import msgspec

from isthmus.clusters.intake import Intake
from isthmus.clusters.view import JoinedView
from isthmus.kube.decoding import decode_page
from isthmus.kube.kinds import ENDPOINT_SLICE, POD, SERVICE, Kind
from isthmus.kube.reflector import Reflector
from isthmus.model.service import ClusterId

CLUSTERS, SERVICES, PODS = 4, 100, 10
MOST = 1792


def test_an_endpoint_stays_within_its_budget_from_the_wire_to_the_view():
    answers = [cluster_of(index) for index in range(CLUSTERS)]
    tracemalloc.start()
    try:
        _kept, endpoints = hold(answers)
        traces = tracemalloc.take_snapshot().traces
    finally:
        tracemalloc.stop()
    # The table of interned strings is the process's, and doubles whenever it likes; nothing else is so large.
    taken = sum(trace.size for trace in traces if trace.size < 1 << 20)
    assert endpoints == CLUSTERS * SERVICES * PODS
    assert taken / endpoints < MOST


def hold(answers: list[dict[str, bytes]]) -> tuple[object, int]:
    """Everything that these answers lead to, and how many endpoints that is."""
    view = JoinedView({})
    kept = {ClusterId(f"c{index}"): read(view, index, pages) for index, pages in enumerate(answers)}
    view.hold({name: intake.store for name, (intake, *_) in kept.items()})
    endpoints = sum(len(e) for key in view.services() for e in view.endpoints(key).values())
    return (view, kept), endpoints


def read(view: JoinedView, index: int, pages: dict[str, bytes]) -> tuple[Intake, list[Reflector[Any]]]:
    intake = Intake(
        view.new_store(ClusterId(f"c{index}")), control_namespace="istio-system", changed=view.changed
    )
    reflectors = [
        Reflector(SERVICE, intake.service),
        Reflector(POD, intake.pod),
        Reflector(ENDPOINT_SLICE, intake.slice),
    ]
    for kind, reflector in zip(KINDS, reflectors, strict=True):
        reflector.begin_list()
        for batch in decode_page(kind, pages[kind.plural]).batches():
            reflector.take_batch(batch)
        reflector.end_list("9")
    return intake, reflectors


KINDS: tuple[Kind[Any], ...] = (SERVICE, POD, ENDPOINT_SLICE)


def cluster_of(cluster: int) -> dict[str, bytes]:
    """A cluster's answers to the three lists."""
    items: dict[str, list[dict[str, Any]]] = {kind.plural: [] for kind in KINDS}
    for index in range(SERVICES):
        name = f"service-{index}"
        addresses = {f"{name}-5d9c7b8f6-{pod:05}": f"10.{cluster}.{index}.{pod}" for pod in range(PODS)}
        items["services"].append(service(name))
        items["pods"] += [pod_of(name, pod, address) for pod, address in addresses.items()]
        items["endpointslices"].append(slice_of(name, addresses))
    head = {"metadata": {"resourceVersion": "9"}}
    return {plural: msgspec.json.encode(head | {"items": some}) for plural, some in items.items()}


def metadata(name: str, **more: Any) -> dict[str, Any]:
    uid = f"0b5a7c1e-0000-4000-8000-{hash(name) & 0xFFFFFFFFFFFF:012x}"
    return {"name": name, "namespace": "demo", "uid": uid, "resourceVersion": "8", **more}


def service(name: str) -> dict[str, Any]:
    ports = [{"port": 80, "name": "http", "targetPort": 8080}]
    spec = {"clusterIP": "10.0.0.1", "ports": ports, "selector": {"app": name}}
    return {"metadata": metadata(name), "spec": spec}


def slice_of(service: str, addresses: dict[str, str]) -> dict[str, Any]:
    endpoints = [
        {
            "addresses": [address],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "demo", "name": pod},
            "zone": "a",
        }
        for pod, address in addresses.items()
    ]
    labels = {"kubernetes.io/service-name": service}
    ports = [{"name": "http", "port": 8080}]
    return {"metadata": metadata(f"{service}-x", labels=labels), "endpoints": endpoints, "ports": ports}


def pod_of(service: str, name: str, address: str) -> dict[str, Any]:
    labels = {"app": service, "version": "v1", "pod-template-hash": "5d9c7b8f6"}
    annotations = {"sidecar.istio.io/status": "injected", "cni.example/address": address}
    return {
        "metadata": metadata(name, labels=labels, annotations=annotations),
        "spec": {"nodeName": "node-1", "serviceAccountName": service},
        "status": {"phase": "Running", "podIP": address},
    }
