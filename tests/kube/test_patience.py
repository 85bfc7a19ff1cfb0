from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.patience import Recovery, Silence, Step


def test_a_watch_that_worked_and_ended_is_resumed_at_once() -> None:
    assert Recovery().after_end(lasted=True) == Step(relist=False, delay=0.0)
    assert Recovery().after_end(lasted=False).delay > 0


def test_a_version_too_old_leads_to_a_list_the_first_time_at_once() -> None:
    recovery = Recovery()
    assert recovery.after_outdated() == Step(relist=True, delay=0.0)
    assert recovery.after_outdated().delay > 0
    recovery.went_well()
    for _ in range(3):
        recovery.after_error(Unreachable("it was restarted, and has forgotten what it had told"))
    assert recovery.after_outdated() == Step(relist=True, delay=0.0)
    assert recovery.after_outdated().delay > 0


def test_what_keeps_failing_is_begun_from_a_list_now_and_then() -> None:
    recovery = Recovery()
    steps = [recovery.after_error(Unreachable("")) for _ in range(30)]
    assert [index for index, step in enumerate(steps, 1) if step.relist] == [10, 20, 30]


def test_a_servers_wish_is_bounded() -> None:
    assert Recovery().after_error(ApiError(429, "", "", retry_after=7)).delay == 7
    assert Recovery().after_error(ApiError(503, "", "", retry_after=99_999)).delay == 300


def test_patience_doubles_to_a_cap_and_a_bookmark_ends_it() -> None:
    silence = Silence(first=10, cap=35)
    seen: list[float] = []
    for _ in range(3):
        silence.probe_found_nothing()
        seen.append(silence.patience)
    assert seen == [20, 35, 35]
    silence.bookmark_came()
    assert silence.patience == 10


def test_only_a_change_right_after_a_suspicion_proves_it() -> None:
    silence = Silence(first=10)
    silence.reopened_on_suspicion()
    silence.change_came(soon=False)
    silence.change_came(soon=True)
    assert silence.patience == 20
    silence.reopened_on_suspicion()
    silence.change_came(soon=True)
    assert silence.patience == 10
