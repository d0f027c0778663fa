"""The PRC legal calendar: a total function over any date.

Holidays and the working weekends made up for them (调休) come from ``chinesecalendar``, whose data ends; beyond
it Monday to Friday count as working days, and the answer says so (``basis``).
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple

from guiji.settings import TIME_ZONE

Basis = Literal["legal", "weekdays"]


class WorkingDay(NamedTuple):
    """Is it a working day, and by which calendar. Its truth is ``working``, not that the tuple has members."""

    working: bool
    basis: Basis

    def __bool__(self) -> bool:
        return self.working


@lru_cache(maxsize=1)
def _legal() -> tuple[frozenset[date], frozenset[date], int, int]:
    """Holidays, working weekends, first and last year that the data covers."""
    from chinese_calendar import holidays, workdays

    return frozenset(holidays), frozenset(workdays), min(holidays).year, max(holidays).year


def last_legal_year() -> int:
    """The last year whose holidays are known."""
    return _legal()[3]


def business_date(day: date) -> date:
    """The calendar day in Asia/Shanghai of a date or moment; a naive moment is Asia/Shanghai already."""
    if isinstance(day, datetime):
        return (day.astimezone(TIME_ZONE) if day.tzinfo else day).date()
    return day


def is_working_day(day: date) -> WorkingDay:
    """Whether ``day`` (a moment counts in Asia/Shanghai) is a working day. Never raises."""
    day = business_date(day)
    holidays, workdays, first, last = _legal()
    weekday = day.weekday() < 5
    if not first <= day.year <= last:
        return WorkingDay(weekday, "weekdays")
    return WorkingDay(day in workdays or (weekday and day not in holidays), "legal")


def add_working_days(moment: datetime, days: int) -> datetime:
    """``moment`` moved by ``days`` working days, same time of day, in Asia/Shanghai.

    The day of ``moment`` itself never counts: one working day after a Friday evening is Monday evening. 0 leaves
    the moment as it is, a negative number counts back. Stops at the ends of what a date can be.
    """
    moment = moment.astimezone(TIME_ZONE) if moment.tzinfo else moment.replace(tzinfo=TIME_ZONE)
    return datetime.combine(shift_working_days(moment.date(), days), moment.timetz())


def first_working_day(day: date) -> date:
    """``day`` itself where it is a working day, else the next one."""
    return day if is_working_day(day) or day >= date.max - timedelta(1) else shift_working_days(day, 1)


def count_working_days(start: date, end: date) -> int:
    """Working days in [start, end); 0 where end is not after start."""
    start, end = business_date(start), business_date(end)
    return sum(bool(is_working_day(start + timedelta(n))) for n in range(max(0, (end - start).days)))


def name_basis(*days: date) -> Basis:
    """``weekdays`` where any of the days lies beyond the calendar's data, else ``legal``."""
    return "weekdays" if any(is_working_day(d).basis == "weekdays" for d in days) else "legal"


def shift_working_days(day: date, days: int) -> date:
    """The day that is ``days`` working days after ``day`` (before it where negative)."""
    step = timedelta(1 if days > 0 else -1)
    left = abs(days)
    while left and date.min < day < date.max:
        day += step
        left -= bool(is_working_day(day))
    return day
