"""What absences cost, and that a cluster which comes and goes does not move traffic each time."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.clusters.standing import AFTER_ANNOTATION, POLICY_ANNOTATION, Absence, Standing, read_worth
from isthmus.config.durations import Duration
from isthmus.config.mesh import StaleEndpoints, StalePolicy

AFTER, RECOVERY = 300, 30
SECOND = StaleEndpoints(StalePolicy.DEPRIORITISE, Duration(seconds=AFTER), Duration(seconds=RECOVERY))
EXPIRE = StaleEndpoints(StalePolicy.EXPIRE, Duration(seconds=AFTER), Duration(seconds=RECOVERY))
KEEP = StaleEndpoints(StalePolicy.KEEP, Duration(seconds=AFTER), Duration(seconds=RECOVERY))


@pytest.mark.parametrize(("worth", "then"), [(SECOND, Standing.SECOND), (EXPIRE, Standing.NONE)])
def test_an_absence_costs_when_it_has_lasted_and_until_it_is_surely_over(
    worth: StaleEndpoints, then: Standing
):
    absence = Absence().lost(0, 0, worth)
    assert absence.standing(AFTER - 1, worth) is Standing.FULL
    assert absence.due(0, worth) == AFTER
    assert absence.standing(AFTER, worth) is then
    absence = absence.back(400)
    assert absence.standing(429, worth) is then
    assert absence.due(400, worth) == 430
    assert absence.standing(430, worth) is Standing.FULL
    assert absence.due(430, worth) is None


def test_kept_endpoints_are_worth_all_for_ever():
    absence = Absence().lost(0, 0, KEEP)
    assert absence.standing(1e9, KEEP) is Standing.FULL
    assert absence.due(0, KEEP) is None


def test_short_returns_do_not_begin_an_absence_anew():
    absence = Absence().lost(0, 0, SECOND)
    for at in range(20, 300, 20):
        absence = absence.back(at).lost(at + 10, at + 10, SECOND)
    assert absence.standing(AFTER, SECOND) is Standing.SECOND


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 400)), max_size=40))
def test_however_it_flaps_its_standing_changes_seldom(steps: list[tuple[bool, int]]):
    absence, now, changes = Absence(), 0, [(-AFTER, Standing.FULL)]
    for fresh, pause in steps:
        absence = absence.back(now) if fresh else absence.lost(now, now, SECOND)
        for _ in range(pause):
            standing = absence.standing(now, SECOND)
            if standing is not changes[-1][1]:
                changes.append((now, standing))
            now += 1
    for (before, old), (at, _) in pairwise(changes):
        assert at - before >= (RECOVERY if old is Standing.SECOND else AFTER)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 400)), max_size=20))
def test_what_is_due_is_when_the_standing_changes(steps: list[tuple[bool, int]]):
    absence, now = Absence(), 0
    for fresh, pause in steps:
        absence = absence.back(now) if fresh else absence.lost(now, now, EXPIRE)
        due = absence.due(now, EXPIRE)
        standing = absence.standing(now, EXPIRE)
        for at in range(now, now + pause):
            if due is None or at < due:
                assert absence.standing(at, EXPIRE) is standing
        now += pause


def test_a_secrets_annotations_say_what_its_clusters_are_worth():
    worth, flaw = read_worth({POLICY_ANNOTATION: "expire", AFTER_ANNOTATION: "90s"}, KEEP)
    assert (worth.policy, worth.after, flaw) == (StalePolicy.EXPIRE, timedelta(seconds=90), "")
    assert read_worth({}, SECOND) == (SECOND, "")


def test_wrong_annotations_are_named_and_have_no_effect():
    worth, flaw = read_worth({POLICY_ANNOTATION: "forget", AFTER_ANNOTATION: "5"}, SECOND)
    assert worth == SECOND
    assert "'forget', not keep, deprioritise or expire" in flaw
    assert f"{AFTER_ANNOTATION}: `5` is not a duration" in flaw
