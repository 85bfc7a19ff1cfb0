"""A stream waits for what it will see; and is served, or told of the fault, whatever becomes of that."""

from collections.abc import Iterator

import structlog

from isthmus.model.resources import CLUSTER, ENDPOINT
from isthmus.xds.hub import Hub
from isthmus.xds.preparing import NotPreparedError
from tests.xds.dialogue import WholeProxy, node
from tests.xds.fakes import FakeProvider, FakeScope, resource


class LargeScope(FakeScope):
    """One that takes two steps, or fails in the second."""

    def __init__(self, key: str, *, fails: bool = False) -> None:
        super().__init__(key, resource(CLUSTER, f"{key}-a", "1"), resource(ENDPOINT, f"{key}-a", "1"))
        self._prepared = False
        self._fails = fails

    @property
    def prepared(self) -> bool:
        return self._prepared

    def preparing(self) -> Iterator[None]:
        try:
            yield
            if self._fails:
                raise ValueError("a service that cannot be derived")
            yield
        finally:
            self._prepared = True


def refused(proxy: WholeProxy, pod: str = "p") -> bool:
    """Whether its first request is to come again."""
    proxy.node = node(pod)
    try:
        proxy.ask(CLUSTER)
    except NotPreparedError:
        return True
    return False


def told(proxy: WholeProxy) -> dict[str, str]:
    return {name: body for heard in proxy.listen() for name, body in heard.resources.items()}


def test_a_stream_is_refused_until_its_scopes_are_prepared_and_woken_then() -> None:
    first, second = LargeScope("first"), LargeScope("second")
    hub = Hub(FakeProvider(own={"p": [first, second], "q": [first]}))
    p, q = WholeProxy(hub, "p"), WholeProxy(hub, "q")
    assert refused(p)
    assert refused(q, "q")
    steps = hub.preparing.steps()
    assert next(steps, 1) is None
    assert refused(p), "asked too early, it does not wait twice"
    for _ in steps:
        pass
    assert (p.wire.wakes, q.wire.wakes) == (1, 1)
    assert not refused(p)
    assert told(p) == {"first-a": "1", "second-a": "1"}
    assert not refused(q, "q")


def test_a_proxy_that_gets_a_large_scope_keeps_what_it_has_until_that_is_prepared() -> None:
    provider = FakeProvider(FakeScope("mesh", resource(CLUSTER, "a", "1")))
    hub = Hub(provider)
    proxy = WholeProxy(hub, "p")
    proxy.ask(CLUSTER)
    assert told(proxy) == {"a": "1"}
    provider.own["p"] = [LargeScope("large")]
    hub.rescope([client.proxy.node_id for client in hub.clients()])
    assert proxy.hear() is None
    for _ in hub.preparing.steps():
        pass
    assert told(proxy) == {"a": "1", "large-a": "1"}


def test_what_cannot_be_prepared_is_logged_and_read_all_the_same() -> None:
    hub = Hub(FakeProvider(LargeScope("bad", fails=True)))
    proxy = WholeProxy(hub, "p")
    assert refused(proxy)
    with structlog.testing.capture_logs() as logs:
        for _ in hub.preparing.steps():
            pass
    assert [line["event"] for line in logs] == ["what a proxy sees cannot be prepared"]
    assert proxy.wire.wakes == 1
    assert not refused(proxy)
    assert told(proxy) == {"bad-a": "1"}
