"""The incremental form as a dialogue: xDS protocol, "Incremental xDS"."""

import pytest

from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus.xds.hub import Hub
from tests.xds.dialogue import Clock, DeltaProxy
from tests.xds.fakes import FakeProvider, FakeScope, resource


@pytest.fixture
def scope() -> FakeScope:
    return FakeScope(
        "mesh",
        resource(CLUSTER, "a", "1"),
        resource(CLUSTER, "b", "1"),
        resource(ENDPOINT, "a", "1"),
        resource(ENDPOINT, "b", "1"),
        resource(LISTENER, "l", "1"),
        resource(ROUTE, "80", "1"),
    )


@pytest.fixture
def hub(scope: FakeScope) -> Hub:
    return Hub(FakeProvider(scope), clock=Clock())


@pytest.fixture
def proxy(hub: Hub) -> DeltaProxy:
    return DeltaProxy(hub)


def connected(proxy: DeltaProxy) -> DeltaProxy:
    for type_url, names in ((CLUSTER, ()), (ENDPOINT, ("a", "b")), (LISTENER, ()), (ROUTE, ("80",))):
        proxy.ask(type_url, *names)
    proxy.listen()
    return proxy


def test_an_empty_first_request_asks_for_every_cluster(proxy: DeltaProxy) -> None:
    proxy.ask(CLUSTER)
    assert [one.resources for one in proxy.listen()] == [{"a": "1", "b": "1"}]


def test_every_cluster_is_an_answer_even_if_there_is_none() -> None:
    proxy = DeltaProxy(Hub(FakeProvider(FakeScope("empty"))))
    proxy.ask(CLUSTER)
    assert [one.resources for one in proxy.listen()] == [{}]


def test_a_name_that_does_not_exist_is_named_as_removed(
    hub: Hub, scope: FakeScope, proxy: DeltaProxy
) -> None:
    proxy.ask(ENDPOINT, "a", "later")
    (heard,) = proxy.listen()
    assert heard.resources == {"a": "1"}
    assert heard.removed == {"later"}
    hub.publish([scope.put(resource(ENDPOINT, "later", "1"))])
    assert [one.resources for one in proxy.listen()] == [{"later": "1"}]


def test_only_what_changed_is_sent(hub: Hub, scope: FakeScope, proxy: DeltaProxy) -> None:
    connected(proxy)
    hub.publish([scope.put(resource(LISTENER, "m", "1"))])
    assert [(one.type_url, one.resources) for one in proxy.listen()] == [(LISTENER, {"m": "1"})]


def test_what_is_gone_is_named_and_clusters_go_last(hub: Hub, scope: FakeScope, proxy: DeltaProxy) -> None:
    connected(proxy)
    hub.publish(
        [
            scope.drop(CLUSTER, "b"),
            scope.drop(ENDPOINT, "b"),
            scope.put(resource(CLUSTER, "c", "1"), resource(LISTENER, "l", "2")),
        ]
    )
    heard = proxy.listen()
    assert [(one.type_url, one.resources, one.removed) for one in heard] == [
        (CLUSTER, {"c": "1"}, set()),
        (ENDPOINT, {}, {"b"}),
        (LISTENER, {"l": "2"}, set()),
        (CLUSTER, {}, {"b"}),
    ]


def test_a_name_subscribed_again_is_sent_again(proxy: DeltaProxy) -> None:
    connected(proxy)
    proxy.ask(ENDPOINT, "a")
    assert [one.resources for one in proxy.listen()] == [{"a": "1"}]


def test_an_unsubscribed_name_is_sent_no_more(hub: Hub, scope: FakeScope, proxy: DeltaProxy) -> None:
    connected(proxy)
    proxy.ask(ENDPOINT, unsubscribe=("a",))
    hub.publish([scope.put(resource(ENDPOINT, "a", "2"))])
    assert proxy.listen() == []


def test_a_name_unsubscribed_under_the_wildcard_is_told_anew(proxy: DeltaProxy) -> None:
    proxy.ask(CLUSTER, "*", "a", "nowhere")
    (heard,) = proxy.listen()
    assert heard.resources == {"a": "1", "b": "1"}
    assert heard.removed == {"nowhere"}
    proxy.ask(CLUSTER, unsubscribe=("a",))
    assert [one.resources for one in proxy.listen()] == [{"a": "1"}]


def test_the_wildcard_can_be_given_up(hub: Hub, scope: FakeScope, proxy: DeltaProxy) -> None:
    proxy.ask(CLUSTER)
    proxy.listen()
    proxy.ask(CLUSTER, "a", unsubscribe=("*",))
    assert [one.resources for one in proxy.listen()] == [{"a": "1"}]
    hub.publish([scope.put(resource(CLUSTER, "b", "2"))])
    assert proxy.listen() == []


def test_subscriptions_count_whatever_the_nonce(proxy: DeltaProxy) -> None:
    connected(proxy)
    proxy.ask(ENDPOINT, "a", nonce="stale")
    assert [one.resources for one in proxy.listen()] == [{"a": "1"}]


def test_a_reconnect_with_versions_is_sent_only_what_differs(
    hub: Hub, scope: FakeScope, proxy: DeltaProxy
) -> None:
    connected(proxy)
    proxy.exchange.closed()
    scope.put(resource(CLUSTER, "c", "1"), resource(ENDPOINT, "a", "2"))
    scope.drop(CLUSTER, "b")
    again = DeltaProxy(hub)
    again.ask(CLUSTER, known=proxy.versions[CLUSTER])
    again.ask(ENDPOINT, "a", "b", known=proxy.versions[ENDPOINT])
    again.ask(LISTENER, known=proxy.versions[LISTENER])
    again.ask(ROUTE, "80", known=proxy.versions[ROUTE])
    assert [(one.type_url, one.resources, one.removed) for one in again.listen()] == [
        (CLUSTER, {"c": "1"}, set()),
        (ENDPOINT, {"a": "2"}, set()),
        (LISTENER, {}, set()),
        (CLUSTER, {}, {"b"}),
    ]


def test_a_cluster_that_changed_while_away_gets_its_known_endpoints_again(
    hub: Hub, scope: FakeScope, proxy: DeltaProxy
) -> None:
    connected(proxy)
    proxy.exchange.closed()
    scope.put(resource(CLUSTER, "a", "2"))
    again = DeltaProxy(hub)
    again.ask(CLUSTER, known=proxy.versions[CLUSTER])
    again.listen()
    again.ask(ENDPOINT, "a", "b", known=proxy.versions[ENDPOINT])
    assert [one.resources for one in again.listen()] == [{"a": "1"}]


def test_a_refused_resource_is_not_sent_again_until_it_changes(
    hub: Hub, scope: FakeScope, proxy: DeltaProxy
) -> None:
    connected(proxy)
    hub.publish([scope.put(resource(CLUSTER, "a", "bad"))])
    heard = proxy.hear()
    assert heard is not None
    proxy.nack(heard, "no")
    proxy.listen()
    hub.publish([scope.put(resource(CLUSTER, "a", "bad"), resource(CLUSTER, "b", "2"))])
    assert [one.resources for one in proxy.listen() if one.type_url == CLUSTER] == [{"b": "2"}]
    hub.publish([scope.put(resource(CLUSTER, "a", "2"))])
    assert [one.resources for one in proxy.listen() if one.type_url == CLUSTER] == [{"a": "2"}]
