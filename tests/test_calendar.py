"""The legal calendar: total, exact where the data reaches, honest where it doesn't."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guiji.calendar import (
    WorkingDay,
    add_working_days,
    count_working_days,
    first_working_day,
    is_working_day,
    last_legal_year,
    name_basis,
    shift_working_days,
)
from guiji.settings import TIME_ZONE

LEGAL = st.dates(date(2004, 1, 1), date(2026, 12, 31))
ANY = st.dates(date(2004, 1, 1), date(2100, 12, 31))


def test_the_data_ends_with_2026() -> None:
    assert last_legal_year() == 2026


@pytest.mark.parametrize(
    ("day", "working"),
    [
        (date(2026, 10, 1), False),  # 国庆节
        (date(2026, 10, 7), False),
        (date(2026, 10, 8), True),
        (date(2026, 9, 20), True),  # 调休: a Sunday that is worked
        (date(2026, 10, 10), True),  # 调休: a Saturday that is worked
        (date(2026, 10, 11), False),
        (date(2026, 2, 17), False),  # 春节
        (date(2020, 1, 31), False),  # 2020 的春节假期延长
        (date(2024, 2, 29), True),
    ],
)
def test_holidays_and_working_weekends(day: date, working: bool) -> None:
    assert is_working_day(day) == WorkingDay(working, "legal")


@given(LEGAL)
@settings(max_examples=300)
def test_within_the_data_it_agrees_with_the_library(day: date) -> None:
    from chinese_calendar import is_workday

    assert is_working_day(day) == (is_workday(day), "legal")


@given(st.dates())
def test_it_answers_for_any_date_and_says_by_what(day: date) -> None:
    answer = is_working_day(day)
    if 2004 <= day.year <= 2026:
        assert answer.basis == "legal"
    else:
        assert answer == (day.weekday() < 5, "weekdays")


def test_its_truth_is_the_answer() -> None:
    assert is_working_day(date(2026, 10, 8))
    assert not is_working_day(date(2026, 10, 1))


def test_f09_a_moment_counts_by_the_day_in_shanghai() -> None:
    assert is_working_day(datetime(2026, 9, 30, 16, 0, tzinfo=UTC)) == (False, "legal")  # 1 October there
    assert is_working_day(datetime(2026, 9, 30, 15, 59, 59, tzinfo=UTC)) == (True, "legal")


@given(st.datetimes(datetime(2004, 1, 1), datetime(2100, 1, 1)), st.integers(-60, 60))
@settings(max_examples=200, deadline=None)
def test_working_days_are_added_as_one_counts_them(naive: datetime, days: int) -> None:
    moment = naive.replace(tzinfo=TIME_ZONE)
    moved = add_working_days(moment, days)
    assert moved.timetz() == moment.timetz()
    low, high = sorted((moment.date(), moved.date()))
    if days > 0:
        assert is_working_day(moved)
        assert count_working_days(low + timedelta(1), high + timedelta(1)) == days
    elif days < 0:
        assert is_working_day(moved)
        assert count_working_days(low, high) == -days
    else:
        assert moved == moment


def test_working_days_across_the_national_holiday() -> None:
    evening = datetime(2026, 9, 30, 18, tzinfo=TIME_ZONE)
    days = [add_working_days(evening, n).strftime("%m-%d %H") for n in range(5)]
    assert days == ["09-30 18", "10-08 18", "10-09 18", "10-10 18", "10-12 18"]


def test_a_naive_moment_is_taken_as_shanghai_and_utc_is_converted() -> None:
    assert add_working_days(datetime(2026, 9, 30, 18), 1) == datetime(2026, 10, 8, 18, tzinfo=TIME_ZONE)
    assert add_working_days(datetime(2026, 9, 30, 16, tzinfo=UTC), 1) == datetime(2026, 10, 8, 0, tzinfo=TIME_ZONE)


@given(ANY)
def test_the_first_working_day_is_the_day_itself_or_the_next_one(day: date) -> None:
    first = first_working_day(day)
    assert is_working_day(first)
    assert count_working_days(day, first) == 0


def test_at_the_ends_of_time_nothing_raises() -> None:
    assert shift_working_days(date.max, 5) == date.max
    assert shift_working_days(date.min, -5) == date.min
    assert first_working_day(date.max) == date.max
    assert count_working_days(date(2026, 2, 2), date(2026, 2, 1)) == 0


def test_the_basis_of_several_days_is_the_weakest() -> None:
    assert name_basis(date(2026, 12, 31)) == "legal"
    assert name_basis(date(2026, 12, 31), date(2027, 1, 1)) == "weekdays"
