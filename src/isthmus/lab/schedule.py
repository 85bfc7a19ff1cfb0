"""When a CronJob runs: schedules of five fields or a macro, in a time zone. Pure.

Source: Kubernetes "CronJob", whose syntax is robfig/cron's: lists, ranges, steps, names of months and days;
where both days of the month and of the week are restricted, either will do.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MACROS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    ("minute", 0, 59, ()), ("hour", 0, 23, ()), ("day of month", 1, 31, ()), ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)  # fmt: skip
_FARTHEST = timedelta(days=5 * 366)


class ScheduleError(ValueError):
    """No schedule; `zone` says whether it is the time zone that is wrong."""

    def __init__(self, message: str, *, zone: bool = False) -> None:
        super().__init__(message)
        self.zone = zone


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes at which something runs. `any_day` and `any_weekday`: the field was `*`."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        """The first time later than `moment`, in UTC; None where none comes within five years."""
        local = moment.astimezone(self.zone).replace(second=0, microsecond=0) + timedelta(minutes=1)
        end = local + _FARTHEST
        while local < end:
            if local.month not in self.months or not self._is_day(local):
                local = local.replace(hour=0, minute=0) + timedelta(days=1)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in self.minutes:
                local += timedelta(minutes=1)
            else:
                return local.astimezone(UTC)
        return None

    def _is_day(self, local: datetime) -> bool:
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return day and weekday if self.any_day or self.any_weekday else day or weekday


def read_schedule(text: str, zone: str) -> Schedule:
    """Raises ScheduleError, which names the field."""
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(f"unknown time zone {zone}", zone=True) from None
    words = _MACROS.get(text.strip(), text).split()
    if len(words) != len(_FIELDS):
        raise ScheduleError(f"expected exactly 5 fields, found {len(words)}: [{' '.join(words)}]")
    minutes, hours, days, months, weekdays = (
        _read_field(word, *field) for word, field in zip(words, _FIELDS, strict=True)
    )
    starred = [word.startswith(("*", "?")) for word in words]
    return Schedule(minutes, hours, days, months, weekdays, starred[2], starred[4], place)


def _read_field(text: str, what: str, least: int, most: int, names: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isdecimal() and int(step)):
            raise ScheduleError(f"step of {what} should be a positive number: {part}")
        first, dash, last = span.partition("-")
        if span in ("*", "?"):
            begin, end = least, most
        else:
            begin = _read_number(first, what, least, names)
            end = _read_number(last, what, least, names) if dash else most if slash else begin
        if begin < least or end > most:
            raise ScheduleError(f"{what} is not within {least} and {most}: {part}")
        if begin > end:
            raise ScheduleError(f"beginning of range ({begin}) beyond end of range ({end}): {part}")
        found.update(range(begin, end + 1, int(step) if slash else 1))
    return frozenset(found)


def _read_number(text: str, what: str, least: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + least
    if not text.isdecimal():
        raise ScheduleError(f"failed to parse number in {what}: {text!r}")
    return int(text)
