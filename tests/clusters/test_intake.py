from collections import Counter

import msgspec

from isthmus.clusters.intake import Intake
from isthmus.clusters.store import ClusterStore, Derivations
from isthmus.kube import objects
from isthmus.kube.watch import Removed, Synced, Upserted
from isthmus.model.service import Network
from tests.clusters.building import WEST


def test_what_the_watches_bring_is_counted_as_istiod_names_it() -> None:
    events = Counter[tuple[str, str]]()
    store = ClusterStore(WEST, Network(""), Derivations())
    intake = Intake(
        store, control_namespace="istio-system", changed=lambda _store, _changes: None, events=events
    )

    def named(name: str) -> dict[str, str]:
        return {"name": name, "namespace": "demo"}

    def echo(address: str, hint: str = "") -> objects.Service:
        metadata = {**named("echo"), "annotations": {"hint": hint}}
        return msgspec.convert({"metadata": metadata, "spec": {"clusterIP": address}}, objects.Service)

    for service in (echo("10.0.0.1"), echo("10.0.0.2"), echo("10.0.0.2", "of no use to the mesh")):
        intake.service(Upserted(service))
    intake.service(Synced("1"))
    intake.service(Removed(echo("10.0.0.2")))
    labels = {"kubernetes.io/service-name": "echo"}
    piece = {"metadata": {**named("echo-x"), "labels": labels}, "addressType": "IPv4"}
    intake.slice(Upserted(msgspec.convert(piece, objects.EndpointSlice)))
    intake.endpoints(Upserted(msgspec.convert({"metadata": named("echo")}, objects.Endpoints)))
    intake.pod(Upserted(msgspec.convert({"metadata": named("echo-1")}, objects.Pod)))
    ended = {"metadata": named("echo-1"), "status": {"phase": "Succeeded"}}
    intake.pod(Upserted(msgspec.convert(ended, objects.Pod)))
    intake.pod(Removed(msgspec.convert({"metadata": named("echo-1")}, objects.Pod)))
    intake.node(Upserted(msgspec.convert({"metadata": {"name": "n1"}}, objects.Node)))
    assert events == {
        ("Services", "add"): 1,
        ("Services", "update"): 1,
        ("Services", "updatesame"): 1,
        ("Services", "delete"): 1,
        ("EndpointSlice", "add"): 1,
        ("Endpoints", "add"): 1,
        ("Pods", "add"): 1,
        ("Pods", "update"): 1,
        ("Pods", "delete"): 1,
        ("Nodes", "add"): 1,
    }
