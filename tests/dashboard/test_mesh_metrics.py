from collections import Counter

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from isthmus.dashboard.mesh_metrics import MeshFigures, MeshMetrics
from isthmus.model.service import Protocol
from tests.translate.fake_view import FakeView, service


def test_the_meshs_figures_have_istiods_names_and_are_of_the_moment() -> None:
    view, triggers, events = FakeView(), Counter[str](), Counter[tuple[str, str]]()
    registry = CollectorRegistry()
    figures = MeshFigures(view, triggers, events, {"east": 1})
    registry.register(MeshMetrics(figures, version="1.2.3", uptime=lambda: 5.0))
    view.put(service("echo", (80, Protocol.HTTP)))
    triggers["endpoint"] += 2
    events["Services", "add"] += 3
    lines = generate_latest(registry).decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'pilot_info{version="1.2.3"} 1.0',
        'istio_build{component="pilot",tag="1.2.3"} 1.0',
        "istiod_uptime_seconds 5.0",
        "pilot_services 1.0",
        'pilot_push_triggers{type="endpoint"} 2.0',
        'pilot_k8s_reg_events{event="add",type="Services"} 3.0',
        'remote_cluster_sync_timeouts_total{cluster="east"} 1.0',
    ]
