from dataclasses import replace

from isthmus.apps.pushing import Pushing
from isthmus.config.accepted_tls import PeerAuthentications
from isthmus.config.mesh import MeshConfig
from isthmus.config.peer_authentication import PEER_AUTHENTICATION
from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref
from isthmus.model.resources import CLUSTER
from isthmus.model.service import Protocol, ServiceKey
from isthmus.model.view import Changes
from isthmus.translate.catalogue import Catalogue
from isthmus.translate.workload_feed import WorkloadFeed
from isthmus.xds.hub import Hub
from isthmus.xds.shelf import Form
from tests.translate.fake_view import FakeView, endpoint, pod, proxy, service
from tests.xds.fakes import FakeWire


def test_what_gives_streams_something_is_counted_by_its_reason_and_what_does_not_is_not() -> None:
    view, store = FakeView(), ConfigStore(PEER_AUTHENTICATION)
    echo = view.put(service("echo", (80, Protocol.HTTP), west="10.1.0.1"), endpoint("10.0.0.1"))
    catalogue = Catalogue(view, MeshConfig(), peers=PeerAuthentications("istio-system", store))
    hub = Hub(catalogue)
    pushing = Pushing(catalogue, WorkloadFeed(view, namespace="istio-system"), hub)

    def counted() -> dict[str, int]:
        return {reason: count for reason, count in pushing.triggers.items() if count}

    def put(ref: Ref, mode: str) -> None:
        assert store.apply(ref, {"metadata": ref._asdict(), "spec": {"mtls": {"mode": mode}}}) is None

    pushing.telling(Changes(services=frozenset({echo})))
    assert counted() == {}, "nobody is connected"
    known = pod("client", "10.0.0.9", tls=True)
    view.pods[known.key] = known
    session = hub.connect(Form.WHOLE, FakeWire(), proxy("client"))
    held = catalogue.scopes(proxy("client"))
    assert [one for scope in held for one in scope.all(CLUSTER)]
    pushing.telling(Changes(services=frozenset({echo})))
    pushing.telling(Changes(endpoints=frozenset({echo})))
    pushing.telling(Changes(endpoints=frozenset({echo})))
    pushing.telling(Changes(endpoints=frozenset({ServiceKey("demo", "another")})))
    assert counted() == {"service": 1, "endpoint": 2}

    view.pods[known.key] = replace(known, labels={})
    pushing.telling(Changes(workloads=frozenset({known.key})))
    assert counted() == {"service": 1, "endpoint": 2, "proxy": 1}
    held = catalogue.scopes(proxy("client"))

    put(Ref("demo", "default"), "STRICT")
    pushing.peers_changed(Ref("demo", "default"))
    assert counted()["config"] == 1
    pushing.peers_changed(Ref("elsewhere", "default"))
    assert counted()["config"] == 1
    session.closed()
