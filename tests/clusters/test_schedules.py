"""Random schedules of faults over five remotes, in virtual time, against a deliberately simple model.

After each schedule, what a reader of the view holds is what the model says: of a cluster that works, the
truth; of one that does not, something that was true before it broke; of one without a Secret, nothing. Then
all is mended, and every cluster is the truth again within the promised time.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType

import pytest
from structlog.testing import capture_logs

from isthmus.clusters.claims import GRACE
from isthmus.clusters.health import State
from isthmus.clusters.registry import Clusters, running_clusters
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.model.service import ClusterId
from tests.clusters.building import ECHO
from tests.clusters.fake_world import CONTROL, World, fill
from tests.support.virtual_time import run_in_virtual_time

SCHEDULES, BATCHES, STEPS = 1000, 20, 7
PROMISED = 75.0
"""Seconds: the longest pause between two attempts, a request that hangs until then, and the next probe."""
SECRET = "remotes"
NAMES = ("east", "north", "south", "up", "down")
FAULTS: tuple[Exception | None, ...] = (
    None,  # hangs: accepts and never answers
    Unreachable("connection refused"),
    Unreachable("its watch of pods sent what is no JSON"),
    ApiError(401, "Unauthorized", ""),
    ApiError(403, "Forbidden", ""),
    ApiError(410, "Gone", ""),
    ApiError(429, "Too Many Requests", ""),
    ApiError(500, "Internal", ""),
    ZeroDivisionError("a bug of ours"),
)


@dataclass
class Remote:
    """What the model knows of one remote: no more than an operator would."""

    number: int
    truth: frozenset[str]
    registered: bool = True
    broken: bool = False
    working_since: float = 0.0
    token: str = "good"
    possible: set[frozenset[str]] = field(default_factory=lambda: {frozenset[str]()})
    """What may be held of it while it does not work."""
    history: set[frozenset[str]] = field(default_factory=set[frozenset[str]])

    def settled(self, now: float) -> bool:
        return self.registered and not self.broken and now - self.working_since >= PROMISED


class Schedule:
    """One world, its control plane, and the model beside them."""

    clusters: Clusters

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = World(*NAMES)
        fill(self.world["home"], ("home-pod", "10.0.0.1"))
        self.remotes = {name: Remote(number, frozenset()) for number, name in enumerate(NAMES, 1)}
        for name in NAMES:
            self.world[name].tokens = {"good", "better"}
            self.world[name].retry_every = 20.0
            self.change(name)
        self.changed_secret()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # What may happen

    def change(self, name: str) -> None:
        remote = self.remotes[name]
        hosts = self.random.sample(range(1, 9), self.random.randint(1, 3))
        remote.truth = frozenset(f"10.{remote.number}.0.{host}" for host in hosts)
        fill(self.world[name], *((f"{name}-{address}", address) for address in sorted(remote.truth)))
        remote.possible.add(remote.truth)
        remote.history.add(remote.truth)

    def breaks(self, name: str) -> None:
        remote, fault = self.remotes[name], self.random.choice(FAULTS)
        if remote.settled(self.now):
            remote.possible = {remote.truth}
        remote.broken = True
        self.world[name].hangs, self.world[name].problem = fault is None, fault
        self.world[name].interrupt()

    def mend(self, name: str) -> None:
        remote = self.remotes[name]
        if remote.broken:
            remote.broken, remote.working_since = False, self.now
            self.world[name].hangs, self.world[name].problem = False, None
            self.world[name].interrupt()

    def interrupt(self, name: str) -> None:
        """Watches break, and what they had not told is told by a new list."""
        remote = self.remotes[name]
        if not remote.broken:
            if remote.settled(self.now):
                remote.possible, remote.working_since = {remote.truth}, self.now
            self.world[name].interrupt()

    def rotate(self, name: str) -> None:
        self.remotes[name].token = self.random.choice(("good", "better"))
        self.changed_secret()

    async def rotate_badly(self, name: str) -> None:
        """Good, bad, good; some times ten times a second."""
        for _ in range(self.random.choice((1, 1, 1, 10))):
            before, self.remotes[name].token = self.remotes[name].token, "wrong"
            self.changed_secret()
            await asyncio.sleep(self.random.choice((0.05, 20.0)))
            self.remotes[name].token = before
            self.changed_secret()

    async def swap(self, name: str) -> None:
        """Two names exchange their credentials, and get them back."""
        other = self.random.choice(NAMES)
        if not all(self.remotes[each].settled(self.now) for each in (name, other)):
            return
        self.changed_secret(leads_to={name: other, other: name})
        await asyncio.sleep(self.random.uniform(0, 30))
        self.changed_secret()

    async def rotate_twice(self, name: str) -> None:
        """A second new credential comes while the first one is being tried."""
        for token in self.random.choice(
            (("better", "good"), ("wrong", "better"), ("better", "wrong", "good"))
        ):
            self.remotes[name].token = token
            self.changed_secret()
            await asyncio.sleep(self.random.choice((0.0, 0.005, 0.02, 0.1)))

    async def mislead(self, name: str) -> None:
        """One name gets the credential of another, which has its own still, and gets its own back."""
        other = self.random.choice([each for each in NAMES if each != name])
        if not self.remotes[name].settled(self.now):
            return
        self.changed_secret(leads_to={name: other})
        await asyncio.sleep(self.random.uniform(0, 30))
        self.changed_secret()

    async def make_anew(self, name: str) -> None:
        """The Secret is deleted and made anew within a moment, with other credentials or the same."""
        self.world.remove_secret(SECRET)
        held = self.held()
        await asyncio.sleep(self.random.uniform(0, GRACE * 0.9))
        self.remotes[name].token = self.random.choice(("good", "better"))
        assert [each for each in held if held[each] and not self.held()[each]] == []
        self.changed_secret()

    def unregister(self, name: str) -> None:
        self.remotes[name].registered = False
        self.changed_secret()

    def register(self, name: str) -> None:
        remote = self.remotes[name]
        if not remote.registered:
            remote.registered, remote.working_since = True, self.now
            remote.possible = {frozenset(), remote.truth}
            self.changed_secret()

    def changed_secret(self, leads_to: Mapping[str, str] = MappingProxyType({})) -> None:
        configs = {
            name: self.world.kubeconfig(leads_to.get(name, name), remote.token)
            for name, remote in self.remotes.items()
            if remote.registered
        }
        self.world.put_secret(SECRET, annotations={}, **configs)

    # Running it

    async def step(self) -> None:
        happen: Callable[[str], object] = self.random.choice(
            (
                self.change,
                self.change,
                self.breaks,
                self.breaks,
                self.mend,
                self.interrupt,
                self.rotate,
                self.rotate_badly,
                self.rotate_twice,
                self.swap,
                self.mislead,
                self.make_anew,
                self.unregister,
                self.register,
            )
        )
        done = happen(self.random.choice(NAMES))
        if asyncio.iscoroutine(done):
            await done
        await asyncio.sleep(self.random.choice((0.0, 0.02, 1.0, 5.0, 80.0)))

    def held(self) -> dict[str, set[str]]:
        """What a reader holds of each cluster."""
        held: dict[str, set[str]] = {name: set() for name in ("home", *NAMES)}
        for endpoint in self.clusters.view.endpoints(ECHO).get(80, ()):
            held[endpoint.cluster].add(endpoint.address)
        return held

    def check(self) -> None:
        held = self.held()
        states = {one.name: one.state for one in self.clusters.status()}
        assert held["home"] == {"10.0.0.1"}
        for name, remote in self.remotes.items():
            found = frozenset(held[name])
            if not remote.registered:
                assert (found, name in states) == (frozenset(), False), name
            elif remote.settled(self.now):
                assert (found, states[ClusterId(name)]) == (remote.truth, State.FRESH), name
            elif remote.broken:
                assert found in remote.possible, name
                assert states[ClusterId(name)] is not State.FRESH, name

    def restarted(self) -> None:
        """The control plane begins anew: what is broken is held as last known, or not at all."""
        for remote in self.remotes.values():
            remote.working_since = self.now
            remote.possible |= {frozenset(), *remote.history}

    async def start(self, stack: AsyncExitStack) -> None:
        self.clusters = await stack.enter_async_context(control_plane(self.world))
        await self.clusters.settled()

    async def play(self) -> None:
        restart_at = self.random.randrange(STEPS * 2)
        async with AsyncExitStack() as stack:
            await self.start(stack)
            await asyncio.sleep(self.random.choice((0.1, PROMISED)))
            for remote in self.remotes.values():
                remote.working_since = -PROMISED
            self.check()
            for step in range(STEPS):
                await self.step()
                if step == restart_at:
                    await stack.aclose()
                    self.restarted()
                    await self.start(stack)
            await asyncio.sleep(PROMISED)
            self.check()
            for name in NAMES:
                self.mend(name)
                self.register(name)
            await asyncio.sleep(PROMISED)
            self.check()


@asynccontextmanager
async def control_plane(world: World) -> AsyncGenerator[Clusters]:
    async with running_clusters(
        world.local,
        cluster_id=ClusterId("home"),
        namespace=CONTROL,
        networks={},
        heal=False,  # there is nothing to heal
        connect=world.connect,
    ) as clusters:
        yield clusters


@pytest.mark.parametrize("batch", range(BATCHES))
def test_after_any_schedule_of_faults_readers_hold_what_a_simple_model_says(batch: int):
    with capture_logs():
        for seed in range(batch, SCHEDULES, BATCHES):
            try:
                run_in_virtual_time(Schedule(seed).play())
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
