"""Whatever happens in whatever order, a proxy ends up with exactly what it subscribed to, by a safe way."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER
from isthmus.xds.hub import Hub
from isthmus.xds.shelf import Form
from tests.support.thorough import examples
from tests.xds.dialogue import Clock, DeltaProxy, Heard, WholeProxy
from tests.xds.fakes import FakeProvider, FakeScope, resource

NAMES = st.sampled_from("abcd")
POD = "p"
NODE_ID = "sidecar~10.0.0.1~p.ns~ns.svc.cluster.local"


class Convergence(RuleBasedStateMachine):
    """A listener's content is the cluster that it refers to, which the mesh always has when it changes.

    Listeners are in a scope of the proxy's own, which a rescope replaces; the rest is in a scope for all.
    """

    form: Form

    unanswered = Bundle("unanswered")

    def __init__(self) -> None:
        super().__init__()
        self.mesh = FakeScope("mesh", resource(CLUSTER, "a", "1"), resource(ENDPOINT, "a", "1"))
        self.truth = {CLUSTER: {"a": "1"}, ENDPOINT: {"a": "1"}, LISTENER: {"l": "a"}}
        self.own = FakeScope(0, resource(LISTENER, "l", "a"))
        self.generation = 0
        self.provider = FakeProvider(self.mesh, own={POD: [self.own]})
        self.clock = Clock()
        self.hub = Hub(self.provider, clock=self.clock)
        self.held: dict[str, dict[str, str]] = {CLUSTER: {}, ENDPOINT: {}, LISTENER: {}}
        self.wanted: set[str] = set()
        self.open: list[Heard] = []
        self.safe = True
        """False after a reconnect in the form that does not tell what the proxy holds, until that is
        known.
        """

    @initialize()
    def connect(self) -> None:
        self.proxy = WholeProxy(self.hub, POD) if self.form is Form.WHOLE else DeltaProxy(self.hub, POD)
        known = {type_url: self.versions(type_url) for type_url in self.held}
        for type_url, names in ((CLUSTER, ()), (ENDPOINT, sorted(self.wanted)), (LISTENER, ())):
            if isinstance(self.proxy, WholeProxy):
                self.proxy.ask(type_url, *names)
            elif names or type_url != ENDPOINT:
                self.proxy.ask(type_url, *names, known=known[type_url])
        self.open = []

    def versions(self, type_url: str) -> dict[str, str]:
        return {
            name: resource(type_url, name, content).version for name, content in self.held[type_url].items()
        }

    @rule(name=NAMES, version=st.sampled_from("123"))
    def change_endpoints(self, name: str, version: str) -> None:
        self.truth[ENDPOINT][name] = version
        self.hub.publish([self.mesh.put(resource(ENDPOINT, name, version))])

    @rule(name=NAMES, version=st.sampled_from("123"))
    def change_cluster(self, name: str, version: str) -> None:
        self.truth[CLUSTER][name] = version
        self.hub.publish([self.mesh.put(resource(CLUSTER, name, version))])

    @rule(old=NAMES, new=NAMES, version=st.sampled_from("123"))
    def replace_cluster(self, old: str, new: str, version: str) -> None:
        """A new cluster comes, listeners move over to it, and the old one goes: all in one change."""
        changes = [self.mesh.put(resource(CLUSTER, new, version), resource(ENDPOINT, new, version))]
        self.truth[CLUSTER][new] = self.truth[ENDPOINT][new] = version
        for name, cluster in self.truth[LISTENER].items():
            if cluster == old:
                changes.append(self.own.put(resource(LISTENER, name, new)))
                self.truth[LISTENER][name] = new
        changes += [
            self.mesh.drop(type_url, old)
            for type_url in (CLUSTER, ENDPOINT)
            if old != new and self.truth[type_url].pop(old, None) is not None
        ]
        self.hub.publish(changes)

    @rule(pick=st.sets(NAMES))
    def move_to_another_scope(self, pick: set[str]) -> None:
        self.generation += 1
        present = sorted(self.truth[CLUSTER])
        self.truth[LISTENER] = {
            name: present[index % len(present)] for index, name in enumerate(sorted(pick))
        }
        self.own = FakeScope(
            self.generation,
            *(resource(LISTENER, name, content) for name, content in self.truth[LISTENER].items()),
        )
        self.provider.own[POD] = [self.own]
        self.hub.rescope([NODE_ID])

    @rule(names=st.sets(NAMES))
    def subscribe(self, names: set[str]) -> None:
        if isinstance(self.proxy, WholeProxy):
            self.proxy.ask(ENDPOINT, *sorted(names))
        else:
            gone = tuple(sorted(self.wanted - names))
            if names - self.wanted or gone:
                self.proxy.ask(ENDPOINT, *sorted(names - self.wanted), unsubscribe=gone)
        self.wanted = names
        self.held[ENDPOINT] = {name: one for name, one in self.held[ENDPOINT].items() if name in names}

    @rule()
    def hear(self) -> None:
        heard = self.proxy.hear()
        if heard is None:
            return
        held = self.held[heard.type_url]
        if self.form is Form.WHOLE and heard.type_url != ENDPOINT:
            held.clear()
        held.update(heard.resources)
        for name in heard.removed:
            held.pop(name, None)
        if heard.type_url == ENDPOINT:
            for name in held.keys() - self.wanted:
                del held[name]
        self.open.append(heard)

    @rule()
    def answer(self) -> None:
        if self.open:
            self.proxy.ack(self.open.pop(0))

    @rule(seconds=st.sampled_from((1, 30)))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds
        self.hub.sweep()

    @rule()
    def reconnect(self) -> None:
        self.proxy.exchange.closed()
        self.connect()
        self.safe = self.form is Form.DELTA

    @invariant()
    @precondition(lambda self: self.safe)
    def no_listener_refers_to_a_cluster_that_is_missing(self) -> None:
        assert set(self.held[LISTENER].values()) <= self.held[CLUSTER].keys()

    @rule()
    def settle(self) -> None:
        """When the proxy has heard and answered everything, it holds the truth."""
        for _ in range(100):
            before = len(self.open)
            self.hear()
            if len(self.open) == before:
                if not self.open:
                    break
                self.answer()
        else:
            raise AssertionError("it never ends")
        assert self.held[CLUSTER] == self.truth[CLUSTER]
        assert self.held[LISTENER] == self.truth[LISTENER]
        present = {name: one for name, one in self.truth[ENDPOINT].items() if name in self.wanted}
        if self.form is Form.DELTA:
            assert self.held[ENDPOINT] == present
        else:
            assert {name: self.held[ENDPOINT].get(name) for name in present} == present
        self.safe = True
        (client,) = self.hub.clients()
        assert all(one.synced for one in client.types)
        for type_url in (CLUSTER, LISTENER):
            told = self.hub.held(NODE_ID).get(type_url, {})
            assert {name: one.body.decode().split("=")[1] for name, one in told.items()} == self.truth[
                type_url
            ]

    def teardown(self) -> None:
        self.settle()
        self.proxy.exchange.closed()


class WholeConvergence(Convergence):
    form = Form.WHOLE


class DeltaConvergence(Convergence):
    form = Form.DELTA


_SETTINGS = settings(
    max_examples=examples(60), stateful_step_count=30, deadline=None, report_multiple_bugs=False
)
TestWholeForm = WholeConvergence.TestCase
TestWholeForm.settings = _SETTINGS
TestDeltaForm = DeltaConvergence.TestCase
TestDeltaForm.settings = _SETTINGS
