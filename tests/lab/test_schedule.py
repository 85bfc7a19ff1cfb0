from datetime import UTC, datetime

import pytest

from isthmus.lab.schedule import ScheduleError, read_schedule


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "moment", "following"),
    [
        ("*/15 * * * *", "UTC", "2026-03-01T10:14:59", "2026-03-01T10:15:00"),
        ("*/15 * * * *", "UTC", "2026-03-01T10:15:00", "2026-03-01T10:30:00"),
        ("@hourly", "UTC", "2026-12-31T23:30:00", "2027-01-01T00:00:00"),
        ("30 4 1,15 * *", "UTC", "2026-02-02T00:00:00", "2026-02-15T04:30:00"),
        ("0 9-17/4 * * mon-fri", "UTC", "2026-11-20T17:00:00", "2026-11-23T09:00:00"),
        ("0 0 29 feb *", "UTC", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 13 * fri", "UTC", "2026-11-01T00:00:00", "2026-11-06T00:00:00"),
        ("0 12 * * *", "Asia/Tokyo", "2026-06-01T04:00:00", "2026-06-02T03:00:00"),
    ],
)
def test_the_next_time_is_the_first_that_fits(schedule: str, zone: str, moment: str, following: str) -> None:
    """The 13th or a Friday: where both kinds of day are restricted, either will do."""
    assert read_schedule(schedule, zone).after(at(moment)) == at(following)


def test_a_day_that_never_comes_is_no_time() -> None:
    assert read_schedule("0 0 30 2 *", "UTC").after(at("2026-01-01T00:00:00")) is None


@pytest.mark.parametrize(
    ("schedule", "zone", "sentence"),
    [
        ("* * * *", "UTC", "expected exactly 5 fields, found 4"),
        ("60 * * * *", "UTC", "minute is not within 0 and 59"),
        ("* * 0 * *", "UTC", "day of month is not within 1 and 31"),
        ("* 5-3 * * *", "UTC", "beginning of range"),
        ("*/0 * * * *", "UTC", "step of minute"),
        ("* * * may-soon *", "UTC", "failed to parse number in month: 'soon'"),
        ("@often", "UTC", "expected exactly 5 fields"),
        ("* * * * *", "Mars/Olympus", "unknown time zone Mars/Olympus"),
    ],
)
def test_what_is_no_schedule_is_refused_by_field(schedule: str, zone: str, sentence: str) -> None:
    with pytest.raises(ScheduleError, match=sentence):
        read_schedule(schedule, zone)
