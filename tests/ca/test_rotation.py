"""The promise of a rotation: however old a workload's bundle may be by the schedule, it trusts every peer."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from isthmus.ca.rotation import Phase, Root, Roots, RotationUnderWay, Schedule, advance, begin, next_step_at

LONGEST = 1000.0
LAG = 60.0
SCHEDULE = Schedule(introduce=LAG, retire=LONGEST + LAG)


def root(number: int) -> Root:
    return Root(b"root %d" % number, b"key %d" % number)


def test_the_new_root_is_trusted_then_signs_and_the_old_one_goes() -> None:
    steady = Roots(root(1))
    introducing = begin(steady, root(2), 0.0)
    assert (introducing.signing, introducing.trusted) == (root(1), (b"root 1", b"root 2"))
    assert advance(introducing, LAG - 1, SCHEDULE) is introducing
    retiring = advance(introducing, LAG, SCHEDULE)
    assert (retiring.signing, retiring.trusted, retiring.phase) == (
        root(2),
        (b"root 2", b"root 1"),
        Phase.RETIRING,
    )
    assert advance(retiring, LAG + LONGEST, SCHEDULE) is retiring
    assert advance(retiring, LAG + LONGEST + LAG, SCHEDULE).trusted == (b"root 2",)


@given(st.lists(st.tuples(st.floats(0, LAG), st.booleans()), max_size=50))
def test_a_root_that_some_cluster_lacks_does_not_sign_until_it_had_the_time_there(
    looks: list[tuple[float, bool]],
) -> None:
    roots, now, lacked = begin(Roots(root(1)), root(2), 0.0), 0.0, 0.0
    for later, lacking in [*looks, (LAG, False), (LAG, False)]:
        now += later
        roots = advance(roots, now, SCHEDULE, lacking=lacking)
        if lacking and roots.phase is Phase.INTRODUCING:
            lacked = now
        elif roots.phase is not Phase.INTRODUCING:
            assert now - lacked >= 0.9 * LAG
            return
    raise AssertionError("it never signs, though no cluster lacks it")


def test_a_second_rotation_waits_for_the_first() -> None:
    with pytest.raises(RotationUnderWay):
        begin(begin(Roots(root(1)), root(2), 0.0), root(3), 1.0)


def test_a_phase_whose_beginning_nobody_wrote_begins_now() -> None:
    unknown = Roots(root(1), outgoing=(b"root 0",))
    assert next_step_at(unknown, SCHEDULE) == 0.0
    assert advance(unknown, 77.0, SCHEDULE).since == 77.0


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_clock_that_goes_back_only_makes_it_wait(began: float, earlier: float) -> None:
    introducing = begin(Roots(root(1)), root(2), began)
    assert advance(introducing, min(began, earlier), SCHEDULE) is introducing


@dataclass
class _History:
    """Bundles by when they were published, and certificates by what signed them and when they end."""

    bundles: list[tuple[float, frozenset[bytes]]] = field(
        default_factory=list[tuple[float, frozenset[bytes]]]
    )
    issued: list[tuple[bytes, float]] = field(default_factory=list[tuple[bytes, float]])


class Rotations(RuleBasedStateMachine):
    """Replicas that look at any time, one of which may sign with what it read up to LAG ago."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.made = 1
        self.roots = Roots(root(1))
        self.history = _History([(0.0, frozenset(self.roots.trusted))])
        self.signing: list[tuple[float, bytes]] = [(0.0, self.roots.signing.certificate)]

    def _become(self, new: Roots) -> None:
        self.roots = new
        self.history.bundles.append((self.now, frozenset(new.trusted)))
        self.signing.append((self.now, new.signing.certificate))

    @rule(seconds=st.sampled_from([1.0, LAG, LONGEST - 1, LONGEST, LONGEST + LAG]) | st.floats(0, LONGEST))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.roots.phase is Phase.STEADY)
    @rule()
    def a_rotation_begins(self) -> None:
        self.made += 1
        self._become(begin(self.roots, root(self.made), self.now))

    @rule()
    def a_replica_looks(self) -> None:
        new = advance(self.roots, self.now, SCHEDULE)
        if new is not self.roots:
            self._become(new)

    @rule(stale=st.sampled_from([0.0, LAG - 1]), life=st.sampled_from([1.0, LONGEST]))
    def a_certificate_is_issued(self, stale: float, life: float) -> None:
        signer = [name for since, name in self.signing if since <= self.now - stale] or [b"root 1"]
        self.history.issued.append((signer[-1], self.now + life))

    @invariant()
    def every_valid_certificate_is_trusted_by_every_bundle_in_use(self) -> None:
        self.history.issued = [one for one in self.history.issued if one[1] > self.now]
        older = [bundle for since, bundle in self.history.bundles if since <= self.now - LAG]
        newer = [bundle for since, bundle in self.history.bundles if since > self.now - LAG]
        for bundle in (*older[-1:], *newer):
            assert all(signer in bundle for signer, _ in self.history.issued)


TestRotations = Rotations.TestCase
