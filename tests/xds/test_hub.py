"""Many streams at once: scopes, who is visited, what a change costs."""

import pytest

from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ScopeChange
from isthmus.xds.errors import ProtocolError
from isthmus.xds.grpc_faults import Faults
from isthmus.xds.hub import Hub
from isthmus.xds.metrics import HubMetrics
from isthmus.xds.shelf import Form
from tests.xds.dialogue import Clock, DeltaProxy, WholeProxy
from tests.xds.fakes import FakeProvider, FakeScope, FakeWire, resource


def mesh(services: int) -> FakeScope:
    names = [f"s{index}" for index in range(services)]
    return FakeScope("mesh", *(resource(kind, name, "1") for kind in (CLUSTER, ENDPOINT) for name in names))


@pytest.mark.parametrize("form", [WholeProxy, DeltaProxy])
def test_a_change_costs_its_service_and_its_subscribers_only(
    form: type[WholeProxy] | type[DeltaProxy],
) -> None:
    costs: list[tuple[int, int, int, int]] = []
    for size in (10, 100):
        scope = mesh(size)
        hub = Hub(FakeProvider(scope), clock=Clock())
        subscribers = [form(hub, f"yes-{index}") for index in range(5)]
        others = [form(hub, f"no-{index}") for index in range(size)]
        for proxy in subscribers:
            proxy.ask(ENDPOINT, "s0", "s1")
            proxy.listen()
        for index, proxy in enumerate(others):
            proxy.ask(ENDPOINT, *(f"s{one}" for one in range(2, 3 + index % (size - 2))))
            proxy.listen()
        everyone = [*subscribers, *others]
        wakes = [proxy.wire.wakes for proxy in everyone]
        reads, built, sends = scope.reads.total(), hub.responses_built, hub.counters.sends.total()
        hub.publish([scope.put(resource(ENDPOINT, "s0", "2"))])
        heard = sum(len(proxy.listen()) for proxy in everyone)
        woken = sum(proxy.wire.wakes > before for proxy, before in zip(everyone, wakes, strict=True))
        assert woken == heard == hub.counters.sends.total() - sends
        costs.append((woken, heard, scope.reads.total() - reads, hub.responses_built - built))
    assert costs == [(5, 5, 1, 1), (5, 5, 1, 1)]


def test_proxies_share_what_they_share_and_have_their_own_besides() -> None:
    common = FakeScope("mesh", resource(CLUSTER, "out", "1"))
    own = {pod: FakeScope(pod, resource(CLUSTER, "in", pod)) for pod in "pq"}
    hub = Hub(FakeProvider(common, own={pod: [scope] for pod, scope in own.items()}), clock=Clock())
    proxies = {pod: WholeProxy(hub, pod) for pod in "pq"}
    for pod, proxy in proxies.items():
        proxy.ask(CLUSTER)
        assert [one.resources for one in proxy.listen()] == [{"out": "1", "in": pod}]
    hub.publish([own["p"].put(resource(CLUSTER, "in", "new"))])
    assert [one.resources for one in proxies["p"].listen()] == [{"out": "1", "in": "new"}]
    assert proxies["q"].listen() == []


def test_scopes_with_equal_keys_are_one() -> None:
    first, second = FakeScope("mesh", resource(CLUSTER, "a", "1")), FakeScope("mesh")
    hub = Hub(FakeProvider(first), clock=Clock())
    proxy = WholeProxy(hub)
    proxy.ask(CLUSTER)
    proxy.listen()
    first.put(resource(CLUSTER, "a", "2"))
    hub.publish([ScopeChange(second, {CLUSTER: frozenset("a")})])
    assert [one.resources for one in proxy.listen()] == [{"a": "2"}]


@pytest.mark.parametrize("form", [WholeProxy, DeltaProxy])
def test_a_rescoped_proxy_is_sent_what_that_changes(form: type[WholeProxy] | type[DeltaProxy]) -> None:
    before = FakeScope("before", *(resource(LISTENER, name, "1") for name in ("same", "changed", "gone")))
    after = FakeScope(
        "after",
        resource(LISTENER, "same", "1"),
        resource(LISTENER, "changed", "2"),
        resource(LISTENER, "new", "1"),
    )
    provider = FakeProvider(own={"p": [before]})
    hub = Hub(provider, clock=Clock())
    proxy = form(hub)
    proxy.ask(LISTENER)
    proxy.listen()
    provider.own["p"] = [after]
    hub.rescope(["sidecar~10.0.0.1~p.ns~ns.svc.cluster.local", "nobody"])
    (heard,) = proxy.listen()
    if form is WholeProxy:
        assert heard.resources == {"same": "1", "changed": "2", "new": "1"}
    else:
        assert (heard.resources, heard.removed) == ({"changed": "2", "new": "1"}, {"gone"})
    hub.publish([before.put(resource(LISTENER, "same", "9"))])
    assert proxy.listen() == []
    hub.publish([after.put(resource(LISTENER, "new", "2"))])
    assert len(proxy.listen()) == 1


def test_a_rescope_while_behind_loses_nothing() -> None:
    before = FakeScope("before", resource(LISTENER, "a", "1"), resource(LISTENER, "b", "1"))
    provider = FakeProvider(own={"p": [before]})
    hub = Hub(provider, clock=Clock())
    proxy = DeltaProxy(hub)
    proxy.ask(LISTENER)
    proxy.listen()
    hub.publish([before.put(resource(LISTENER, "a", "2")), before.drop(LISTENER, "b")])
    provider.own["p"] = [FakeScope("after", resource(LISTENER, "a", "1"))]
    hub.rescope(["sidecar~10.0.0.1~p.ns~ns.svc.cluster.local"])
    (heard,) = proxy.listen()
    assert (heard.resources, heard.removed) == ({"a": "1"}, {"b"})


def test_a_rescope_to_the_same_scopes_is_nothing() -> None:
    hub = Hub(FakeProvider(mesh(2)), clock=Clock())
    proxy = WholeProxy(hub)
    proxy.ask(CLUSTER)
    proxy.listen()
    hub.rescope(["sidecar~10.0.0.1~p.ns~ns.svc.cluster.local"])
    assert proxy.listen() == []


def test_what_a_proxy_holds_can_be_asked() -> None:
    scope = mesh(2)
    hub = Hub(FakeProvider(scope), clock=Clock())
    proxy = WholeProxy(hub)
    proxy.ask(CLUSTER)
    proxy.ask(ENDPOINT, "s0")
    proxy.listen()
    (client,) = hub.clients()
    assert [(one.type_url, one.synced, len(one.names), one.wildcard) for one in client.types] == [
        (CLUSTER, True, 0, True),
        (ENDPOINT, True, 1, False),
    ]
    hub.publish([scope.put(resource(ENDPOINT, "s0", "2"))])
    held = hub.held(client.proxy.node_id)
    assert list(held[CLUSTER]) == ["s0", "s1"]
    assert {name: one.body for name, one in held[ENDPOINT].items()} == {"s0": b"s0=1"}, "not taken yet"
    assert not hub.clients()[0].types[1].synced
    assert hub.held("nobody") == {}


def test_requests_that_break_the_protocol_are_named() -> None:
    hub = Hub(FakeProvider(mesh(1)))
    for message, says in ((b"\xff", "no DiscoveryRequest"), (b"", "no type_url"), (b"\x22\x01x", "no node")):
        exchange = hub.connect(Form.WHOLE, FakeWire())
        with pytest.raises(ProtocolError, match=says):
            exchange.receive(message)
        exchange.closed()
    proxy = WholeProxy(hub)
    with pytest.raises(ProtocolError, match="more than 32 resource types"):
        for index in range(40):
            proxy.ask(f"type/{index}", "x")


def test_the_counters_are_read_as_istio_names_them() -> None:
    hub = Hub(FakeProvider(mesh(1)), clock=Clock())
    proxy = WholeProxy(hub)
    proxy.ask(CLUSTER)
    heard = proxy.hear()
    assert heard is not None
    proxy.nack(heard, "no")
    faults = Faults()
    faults.note("PROTOCOL_ERROR", "10.0.0.1:1", "no HTTP/2", now=0.0)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in HubMetrics(hub, faults).collect()
        for sample in family.samples
    }
    assert samples["pilot_xds", "sotw"] == 1
    assert samples["pilot_xds_pushes", "cds"] == 1
    assert samples["pilot_total_xds_rejects", "cds"] == 1
    size = samples["pilot_xds_config_size_bytes_sum", "cds"]
    assert 1 < size < 10_000
    buckets = {
        labels[2]: value
        for labels, value in samples.items()
        if labels[0] == "pilot_xds_config_size_bytes_bucket"
    }
    assert buckets == {bound: float(size <= float(bound)) for bound in buckets}
    assert samples["pilot_xds_config_size_bytes_count", "cds"] == 1
    assert samples["isthmus_grpc_faults_total", "PROTOCOL_ERROR"] == 1


@pytest.mark.parametrize("form", [WholeProxy, DeltaProxy])
def test_a_change_is_late_by_the_time_from_when_it_was_known_until_each_proxy_is_sent_it(
    form: type[WholeProxy] | type[DeltaProxy],
) -> None:
    scope, clock = mesh(2), Clock()
    clock.now = 100.0
    hub = Hub(FakeProvider(scope), clock=clock)
    prompt, busy = (form(hub, name) for name in ("prompt", "busy"))
    for proxy in (prompt, busy):
        proxy.ask(ENDPOINT, "s0")
        proxy.listen()
    assert sum(hub.counters.delays) == 0, "what is asked for is no change"
    hub.publish([scope.put(resource(ENDPOINT, "s0", "2"))], since=98.0)
    prompt.listen()
    assert (sum(hub.counters.delays), hub.counters.delayed) == (1, 2.0)
    clock.now = 101.5
    hub.publish([scope.put(resource(ENDPOINT, "s0", "3"))])
    clock.now = 102.0
    prompt.listen()
    busy.listen()
    assert hub.counters.delayed == 2.0 + 0.5 + 4.0, "of two changes that are sent together the first counts"
    [family] = [one for one in HubMetrics(hub, Faults()).collect() if "convergence" in one.name]
    buckets = {one.labels["le"]: one.value for one in family.samples if one.labels}
    assert (buckets["0.1"], buckets["0.5"], buckets["3.0"], buckets["5.0"], buckets["+Inf"]) == (
        0,
        1,
        2,
        3,
        3,
    )
