"""The state-of-the-world form as a dialogue: xDS protocol, "Basic protocol overview" to "Unsubscribing"."""

import pytest

from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus.xds.hub import Hub
from tests.xds.dialogue import Clock, Heard, WholeProxy
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
def proxy(hub: Hub) -> WholeProxy:
    return WholeProxy(hub)


def connected(proxy: WholeProxy) -> WholeProxy:
    """Subscribed to all of it, and up to date."""
    for type_url, names in ((CLUSTER, ()), (ENDPOINT, ("a", "b")), (LISTENER, ()), (ROUTE, ("80",))):
        proxy.ask(type_url, *names)
    proxy.listen()
    assert proxy.hear() is None
    return proxy


def types(heard: list[Heard]) -> list[str]:
    return [one.type_url for one in heard]


def test_an_empty_first_request_asks_for_every_cluster(proxy: WholeProxy) -> None:
    proxy.ask(CLUSTER)
    heard = proxy.hear()
    assert heard is not None
    assert heard.resources == {"a": "1", "b": "1"}
    assert proxy.hear() is None


def test_every_cluster_is_an_answer_even_if_there_is_none() -> None:
    proxy = WholeProxy(Hub(FakeProvider(FakeScope("empty"))))
    proxy.ask(CLUSTER)
    heard = proxy.hear()
    assert heard is not None
    assert heard.resources == {}


def test_endpoints_are_sent_by_name_and_missing_ones_are_waited_for(
    hub: Hub, scope: FakeScope, proxy: WholeProxy
) -> None:
    proxy.ask(ENDPOINT, "a", "later")
    heard = proxy.hear()
    assert heard is not None
    assert heard.resources == {"a": "1"}
    proxy.ack(heard)
    hub.publish([scope.put(resource(ENDPOINT, "later", "1"))])
    assert [one.resources for one in proxy.listen()] == [{"later": "1"}]


def test_only_missing_endpoints_are_no_response(proxy: WholeProxy) -> None:
    proxy.ask(ENDPOINT, "later")
    assert proxy.hear() is None


def test_an_ack_is_not_answered(proxy: WholeProxy) -> None:
    proxy.ask(ENDPOINT, "a")
    assert len(proxy.listen()) == 1
    assert proxy.hear() is None


def test_added_names_are_answered_with_those_only(proxy: WholeProxy) -> None:
    proxy.ask(ENDPOINT, "a")
    proxy.listen()
    proxy.ask(ENDPOINT, "a", "b")
    assert [one.resources for one in proxy.listen()] == [{"b": "1"}]


def test_a_stale_nonce_changes_nothing_until_the_names_are_repeated(proxy: WholeProxy) -> None:
    proxy.ask(ENDPOINT, "a")
    first = proxy.hear()
    assert first is not None
    proxy.ack(first)
    proxy.ask(ENDPOINT, "a", "b")
    second = proxy.hear()
    assert second is not None
    proxy.ask(ENDPOINT, nonce=first.nonce)
    proxy.ask(ENDPOINT, "a", "b", nonce=second.nonce)
    assert proxy.hear() is None, "the stale request did not unsubscribe"


def test_an_empty_list_after_names_unsubscribes_from_all(
    hub: Hub, scope: FakeScope, proxy: WholeProxy
) -> None:
    proxy.ask(CLUSTER, "a")
    proxy.listen()
    proxy.ask(CLUSTER)
    hub.publish([scope.put(resource(CLUSTER, "a", "2"))])
    assert proxy.listen() == []


def test_the_explicit_wildcard_can_be_given_up_for_names(
    hub: Hub, scope: FakeScope, proxy: WholeProxy
) -> None:
    proxy.ask(CLUSTER, "*")
    assert [one.resources for one in proxy.listen()] == [{"a": "1", "b": "1"}]
    proxy.ask(CLUSTER, "a")
    proxy.listen()
    hub.publish([scope.put(resource(CLUSTER, "b", "2"))])
    assert proxy.listen() == []
    hub.publish([scope.put(resource(CLUSTER, "a", "2"))])
    assert [one.resources for one in proxy.listen()] == [{"a": "2"}]


def test_a_changed_endpoint_is_sent_alone(hub: Hub, scope: FakeScope, proxy: WholeProxy) -> None:
    connected(proxy)
    hub.publish([scope.put(resource(ENDPOINT, "a", "2"))])
    assert [one.resources for one in proxy.listen()] == [{"a": "2"}]


def test_a_changed_listener_comes_with_all_listeners(hub: Hub, scope: FakeScope, proxy: WholeProxy) -> None:
    connected(proxy)
    hub.publish([scope.put(resource(LISTENER, "m", "1"))])
    assert [one.resources for one in proxy.listen()] == [{"l": "1", "m": "1"}]


def test_what_did_not_really_change_is_not_sent(hub: Hub, scope: FakeScope, proxy: WholeProxy) -> None:
    connected(proxy)
    hub.publish([scope.put(resource(ENDPOINT, "a", "1"), resource(CLUSTER, "a", "1"))])
    assert proxy.listen() == []


def test_clusters_come_first_and_routes_last(hub: Hub, scope: FakeScope, proxy: WholeProxy) -> None:
    connected(proxy)
    proxy.names[ENDPOINT].append("c")
    hub.publish(
        [
            scope.put(
                resource(ROUTE, "80", "2"),
                resource(LISTENER, "l", "2"),
                resource(ENDPOINT, "a", "2"),
                resource(CLUSTER, "c", "1"),
            )
        ]
    )
    assert types(proxy.listen()) == [CLUSTER, ENDPOINT, LISTENER, ROUTE]


def test_listeners_wait_for_new_clusters_that_cannot_be_sent_yet(
    hub: Hub, scope: FakeScope, proxy: WholeProxy
) -> None:
    connected(proxy)
    hub.publish([scope.put(resource(CLUSTER, "a", "2"))])
    unanswered = proxy.hear()
    assert unanswered is not None
    proxy.listen()
    hub.publish([scope.put(resource(CLUSTER, "c", "1"), resource(LISTENER, "l", "2"))])
    assert proxy.hear() is None
    proxy.ack(unanswered)
    assert types(proxy.listen()) == [CLUSTER, LISTENER]


def test_clusters_that_are_gone_leave_after_listeners_and_routes(
    hub: Hub, scope: FakeScope, proxy: WholeProxy
) -> None:
    connected(proxy)
    hub.publish(
        [
            scope.drop(CLUSTER, "b"),
            scope.drop(ENDPOINT, "b"),
            scope.put(resource(LISTENER, "l", "2"), resource(ROUTE, "80", "2")),
        ]
    )
    heard = proxy.listen()
    assert types(heard) == [LISTENER, ROUTE, CLUSTER]
    assert heard[-1].resources == {"a": "1"}


def test_new_clusters_do_not_wait_for_the_removal_of_old_ones(
    hub: Hub, scope: FakeScope, proxy: WholeProxy
) -> None:
    connected(proxy)
    hub.publish(
        [scope.drop(CLUSTER, "b"), scope.put(resource(CLUSTER, "c", "1"), resource(LISTENER, "l", "2"))]
    )
    heard = proxy.listen()
    assert types(heard) == [CLUSTER, LISTENER, CLUSTER]
    assert heard[0].resources == {"a": "1", "b": "1", "c": "1"}
    assert heard[-1].resources == {"a": "1", "c": "1"}


def test_a_changed_cluster_gets_its_endpoints_again_to_warm_with(
    hub: Hub, scope: FakeScope, proxy: WholeProxy
) -> None:
    connected(proxy)
    hub.publish([scope.put(resource(CLUSTER, "a", "2"))])
    heard = proxy.listen()
    assert types(heard) == [CLUSTER, ENDPOINT]
    assert heard[1].resources == {"a": "1"}


def test_changes_coalesce_until_the_answer_comes(hub: Hub, scope: FakeScope, proxy: WholeProxy) -> None:
    connected(proxy)
    hub.publish([scope.put(resource(ENDPOINT, "a", "2"))])
    first = proxy.hear()
    assert first is not None
    for version in "3456":
        hub.publish([scope.put(resource(ENDPOINT, "a", version))])
    hub.publish([scope.put(resource(ENDPOINT, "b", "2"))])
    assert proxy.hear() is None
    reads = scope.reads["a"]
    proxy.ack(first)
    assert [one.resources for one in proxy.listen()] == [{"a": "6", "b": "2"}]
    assert scope.reads["a"] == reads + 1, "states in between are not derived"


def test_a_proxy_that_never_answers_is_sent_the_next_after_a_while(scope: FakeScope) -> None:
    clock = Clock()
    hub = Hub(FakeProvider(scope), clock=clock)
    proxy = connected(WholeProxy(hub))
    hub.publish([scope.put(resource(ENDPOINT, "a", "2"))])
    assert proxy.hear() is not None
    hub.publish([scope.put(resource(ENDPOINT, "a", "3"))])
    assert proxy.hear() is None
    clock.now += 60
    wakes = proxy.wire.wakes
    hub.sweep()
    assert proxy.wire.wakes == wakes + 1
    heard = proxy.hear()
    assert heard is not None
    assert heard.resources == {"a": "3"}


def test_a_refused_resource_is_recorded_and_not_sent_again_until_it_changes(
    hub: Hub, scope: FakeScope, proxy: WholeProxy
) -> None:
    connected(proxy)
    hub.publish([scope.put(resource(ENDPOINT, "a", "bad"))])
    heard = proxy.hear()
    assert heard is not None
    proxy.nack(heard, "no such weight")
    assert proxy.hear() is None
    (client,) = hub.clients()
    (nack,) = [one.nack for one in client.types if one.nack is not None]
    assert (nack.nonce, nack.reason) == (heard.nonce, "no such weight")
    assert hub.held(client.proxy.node_id)[ENDPOINT]["a"].body == b"a=1", "the last good one is in force"

    hub.publish([scope.put(resource(ENDPOINT, "a", "bad"), resource(ENDPOINT, "b", "2"))])
    assert [one.resources for one in proxy.listen()] == [{"b": "2"}]
    hub.publish([scope.put(resource(ENDPOINT, "a", "good"))])
    assert [one.resources for one in proxy.listen()] == [{"a": "good"}]
    assert hub.held(client.proxy.node_id)[ENDPOINT]["a"].body == b"a=good"


def test_only_what_the_reason_names_is_held_back(hub: Hub, scope: FakeScope, proxy: WholeProxy) -> None:
    connected(proxy)
    hub.publish([scope.put(resource(ENDPOINT, "a", "2"), resource(ENDPOINT, "b", "bad"))])
    heard = proxy.hear()
    assert heard is not None
    proxy.nack(heard, "no to b")
    assert [one.resources for one in proxy.listen()] == [{"a": "2"}]


def test_an_accepted_full_response_clears_earlier_refusals(
    hub: Hub, scope: FakeScope, proxy: WholeProxy
) -> None:
    proxy.ask(CLUSTER)
    heard = proxy.hear()
    assert heard is not None
    proxy.nack(heard, "no cluster at all")
    hub.publish([scope.put(resource(CLUSTER, "a", "2"))])
    (again,) = proxy.listen()
    assert again.resources == {"a": "2", "b": "1"}
    (client,) = hub.clients()
    assert list(hub.held(client.proxy.node_id)[CLUSTER]) == ["a", "b"]


def test_after_a_reconnect_everything_is_sent_whatever_the_version(hub: Hub, proxy: WholeProxy) -> None:
    connected(proxy)
    proxy.exchange.closed()
    again = WholeProxy(hub)
    again.nonces[CLUSTER] = "left over from another stream"
    again.ask(CLUSTER)
    again.ask(ENDPOINT, "a", "b")
    assert types(again.listen()) == [CLUSTER, ENDPOINT]


def test_streams_in_step_share_the_bytes_of_a_push(hub: Hub, scope: FakeScope) -> None:
    proxies = [connected(WholeProxy(hub, pod)) for pod in "pqr"]
    built = hub.responses_built
    hub.publish([scope.put(resource(ENDPOINT, "a", "2"))])
    messages = {id(proxy.exchange.take()) for proxy in proxies}
    assert len(messages) == 1
    assert hub.responses_built == built + 1


def test_a_closed_stream_is_sent_nothing_and_forgotten(hub: Hub, scope: FakeScope, proxy: WholeProxy) -> None:
    connected(proxy)
    proxy.exchange.closed()
    proxy.exchange.closed()
    wakes = proxy.wire.wakes
    hub.publish([scope.put(resource(ENDPOINT, "a", "2"))])
    assert proxy.wire.wakes == wakes
    assert proxy.hear() is None
    assert hub.clients() == []
