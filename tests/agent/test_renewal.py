from random import Random

from hypothesis import given
from hypothesis import strategies as st

from isthmus.agent.renewal import Renewal

LIVES = st.floats(5.0, 30 * 86400.0)


@given(LIVES, st.integers())
def test_a_certificate_is_renewed_about_half_way_through_what_it_has_left(life: float, seed: int) -> None:
    plan = Renewal(Random(seed))
    assert plan.due == 0.0
    plan.issued(1000.0, 1000.0 + life)
    assert 0.45 * life <= plan.due - 1000.0 <= 0.55 * life


def test_pods_that_started_together_do_not_come_together() -> None:
    plans = [Renewal(Random(seed)) for seed in range(50)]
    for plan in plans:
        plan.issued(0.0, 86400.0)
    times = sorted(plan.due for plan in plans)
    assert len(set(times)) == 50
    assert times[-1] - times[0] > 3600


@given(LIVES, st.integers())
def test_until_it_expires_a_certificate_is_tried_to_be_renewed_many_times(life: float, seed: int) -> None:
    plan = Renewal(Random(seed))
    plan.issued(0.0, life)
    attempts = 0
    while plan.due < life:
        attempts += 1
        now = plan.due
        plan.failed(now, "the CA is down")
        assert now < plan.due <= now + 60.0
    assert attempts >= min(8, life / 4)


def test_without_a_certificate_delays_grow_to_a_minute() -> None:
    plan = Renewal(Random(1))
    now, delays = 0.0, list[float]()
    for _ in range(20):
        plan.failed(now, "no token")
        delays.append(plan.due - now)
        now = plan.due
    assert delays[0] < 0.5
    assert 30.0 <= delays[-1] <= 60.0


def test_only_news_is_worth_a_line_in_the_log() -> None:
    plan = Renewal(Random(1))
    assert plan.failed(0.0, "no token")
    assert not plan.failed(1.0, "no token")
    assert plan.failed(2.0, "CA: UNAVAILABLE")
    plan.issued(3.0, 13.0)
    assert plan.failed(8.0, "CA: UNAVAILABLE")
    assert not plan.failed(12.0, "CA: UNAVAILABLE")
    assert plan.failed(13.0, "CA: UNAVAILABLE"), "now nothing valid is left"


def test_it_is_asked_for_at_once_when_the_present_one_will_not_do() -> None:
    plan = Renewal(Random(1))
    plan.issued(0.0, 86400.0)
    plan.hurry(10.0)
    assert plan.due == 10.0
