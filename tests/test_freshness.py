"""Delivery windows and what became of them, from a ledger in a real database; the clock is the only thing frozen."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ledger_rows import Conn, Ledger, at, make_catalog, make_department, make_resource

from guiji.catalog.models import Resource, UpdateCycle
from guiji.freshness import (
    WindowState,
    assess,
    current_window,
    find_stale_updates,
    load_stale_updates,
    windows_between,
)
from guiji.records import Window
from guiji.settings import TIME_ZONE, Settings

GAJ = make_department("gaj", "市公安局")


def resource(cycle: str = "每日", short: str = "hj", **changes: Any) -> Resource:
    return make_resource(GAJ, short, "户籍人口", update_cycle=cycle, **changes)


def span(window: Window) -> tuple[str, str]:
    return window.start.strftime("%Y-%m-%d %H:%M"), window.end.strftime("%Y-%m-%d %H:%M")


# --- windows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cycle", "start", "end"),
    [
        ("实时", "2026-10-24", "2026-10-25"),
        ("每日", "2026-10-24", "2026-10-25"),
        ("每周", "2026-10-19", "2026-10-26"),
        ("每月", "2026-10-01", "2026-11-01"),
        ("每季度", "2026-10-01", "2027-01-01"),
        ("每半年", "2026-07-01", "2027-01-01"),
        ("每年", "2026-01-01", "2027-01-01"),
        ("不定期", "2026-10-01", "2026-11-01"),
        ("不更新", "2026-10-01", "2026-11-01"),
    ],
)
def test_every_cycle_has_its_window(cycle: str, start: str, end: str) -> None:
    assert current_window(resource(cycle), at("2026-10-24 09:00")) == Window(at(start), at(end))


def test_every_cycle_is_known() -> None:
    for cycle in UpdateCycle:
        assert current_window(resource(cycle.value), at("2026-10-24 09:00")).start <= at("2026-10-24 09:00")


@given(
    st.sampled_from([c.value for c in UpdateCycle]),
    st.datetimes(datetime(2004, 1, 1), datetime(2100, 12, 31)),
    st.integers(0, 3),
)
@hypothesis_settings(max_examples=200, deadline=None)
def test_windows_join_without_gap_or_overlap(cycle: str, naive: datetime, more: int) -> None:
    moment = naive.replace(tzinfo=TIME_ZONE)
    r = resource(cycle)
    here = current_window(r, moment)
    assert here.start <= moment < here.end
    windows = windows_between(r, here.start, here.end + timedelta(400 * more))
    if cycle in ("不定期", "不更新"):
        assert windows == []
        return
    assert windows[0].window == here
    assert [w.end for w in windows[:-1]] == [w.start for w in windows[1:]]
    assert all(current_window(r, w.start) == w.window for w in windows[:40])
    assert all(current_window(r, w.end - timedelta.resolution) == w.window for w in windows[:40])


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Asia/Shanghai", "Pacific/Kiritimati"])
def test_f09_the_day_is_that_of_shanghai_wherever_the_machine_stands(zone: str) -> None:
    script = """
import sys
sys.path[:0] = [%r]
from test_freshness import resource, span
from guiji.freshness import current_window
from guiji.settings import Settings
for now in ("2026-10-31T23:59:59+08:00", "2026-10-31T16:00:01+00:00", "2028-02-28T23:59:59", "2028-02-29T00:00:01",
            "2028-02-29T15:59:59Z", "2026-12-31T08:00:01-08:00"):
    settings = Settings.from_env({"GUIJI_NOW": now})
    day = span(current_window(resource("每日"), settings.now()))[0][:10]
    month = span(current_window(resource("每月"), settings.now()))[0][:10]
    print(settings.today(), day, month)
"""
    done = subprocess.run(
        [sys.executable, "-c", script % os.path.dirname(__file__)],
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "2026-10-31 2026-10-31 2026-10-01",
        "2026-11-01 2026-11-01 2026-11-01",
        "2028-02-28 2028-02-28 2028-02-01",
        "2028-02-29 2028-02-29 2028-02-01",
        "2028-02-29 2028-02-29 2028-02-01",
        "2027-01-01 2027-01-01 2027-01-01",
    ]


def test_a_moment_in_another_zone_falls_in_the_window_of_shanghai() -> None:
    assert current_window(resource(), datetime(2026, 10, 24, 18, tzinfo=UTC)) == Window(
        at("2026-10-25"), at("2026-10-26")
    )


def test_a_resource_may_keep_another_time_zone() -> None:
    window = current_window(resource(time_zone="UTC"), at("2026-10-24 07:59"))
    assert window.start.isoformat() == "2026-10-23T00:00:00+00:00"


@pytest.mark.parametrize(
    ("delivery", "due", "calendar"),
    [
        ({}, "2026-09-30 18:00", "legal"),
        ({"due_time": "09:30"}, "2026-09-30 09:30", "legal"),
        ({"due_days": 5}, "2026-10-05 18:00", "legal"),
        ({"due_days": 5, "working_days": True}, "2026-10-13 18:00", "legal"),
        ({"due_days": 100}, "2027-01-08 18:00", "weekdays"),
    ],
)
def test_a_delivery_is_due_so_many_days_after_the_last_day(delivery: dict[str, Any], due: str, calendar: str) -> None:
    [window] = windows_between(resource("每月", delivery=delivery), at("2026-09-01"), at("2026-10-01"))
    assert (window.due_at, window.calendar) == (at(due), calendar)


def test_a_cycle_that_ends_on_a_holiday_is_due_on_the_next_working_day() -> None:
    weekly = resource("每周", delivery={"working_days": True})
    [window] = windows_between(weekly, at("2026-09-28"), at("2026-10-05"))  # ends on Sunday, 4 October
    assert window.due_at == at("2026-10-08 18:00")


@pytest.mark.parametrize(("days", "count"), [(0, 0), (1, 1), (2, 2), (31, 31)])
def test_windows_between_are_counted_exactly(days: int, count: int) -> None:
    start = at("2026-10-01")
    assert len(windows_between(resource(), start, start + timedelta(days))) == count


def test_a_span_inside_a_window_gives_that_window_and_dates_are_midnights() -> None:
    [window] = windows_between(resource("每年"), date(2026, 3, 1), date(2026, 3, 2))
    assert window.window == Window(at("2026-01-01"), at("2027-01-01"))


def test_windows_count_from_since() -> None:
    r = resource(delivery={"since": "2026-10-22"})
    starts = [w.start for w in windows_between(r, at("2026-10-01"), at("2026-10-24"))]
    assert starts == [at("2026-10-22"), at("2026-10-23")]


@pytest.mark.parametrize(
    ("cycle", "delivery", "now", "start"),
    [
        ("每月", {"due_days": 5}, "2026-10-03 09:00", "2026-09-01"),
        ("每月", {"due_days": 5}, "2026-10-05 17:59", "2026-09-01"),
        ("每月", {"due_days": 5}, "2026-10-05 18:00", "2026-10-01"),
        ("每月", {"due_days": 40}, "2026-10-08 09:00", "2026-08-01"),
        ("每日", {"due_days": 1}, "2026-10-24 02:00", "2026-10-23"),
        ("每日", {"due_days": 1}, "2026-10-24 20:00", "2026-10-24"),
        ("每日", {}, "2026-10-24 00:00", "2026-10-24"),
        ("每年", {"due_days": 30}, "2026-01-15 09:00", "2025-01-01"),
    ],
)
def test_a_delivery_after_the_end_of_its_cycle_is_for_that_cycle(
    cycle: str, delivery: dict[str, Any], now: str, start: str
) -> None:
    assert current_window(resource(cycle, delivery=delivery), at(now)).start == at(start)


# --- what became of them -----------------------------------------------------------------------------

NOW = "2026-10-24 09:00"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUIJI_NOW", "2026-10-24T09:00:00+08:00")


@pytest.fixture
def ledger(conn: Conn) -> Ledger:
    return Ledger(conn)


def day(text: str) -> tuple[datetime, datetime]:
    return at(text), at(text) + timedelta(1)


def judge(conn: Conn, settings: Settings, *resources: Resource, now: str = NOW) -> list[WindowState]:
    moment = at(now)
    return assess(conn, settings.at(moment), make_catalog([GAJ], list(resources)), moment)


def short(states: list[WindowState]) -> list[tuple[str, str, str | None]]:
    return [(s.window_start.strftime("%m-%d"), s.state, s.responsible) for s in states]


SINCE = {"since": "2026-10-20"}


def test_windows_are_met_late_missed_or_not_due(conn: Conn, settings: Settings, ledger: Ledger) -> None:
    ledger.batch("gaj.hj", at("2026-10-20 10:00"), window=day("2026-10-20"))
    ledger.batch("gaj.hj", at("2026-10-22 08:00"), window=day("2026-10-21"))
    ledger.batch("gaj.hj", at("2026-10-22 18:00"), window=day("2026-10-22"))
    states = judge(conn, settings, resource(delivery=SINCE))
    assert short(states) == [
        ("10-24", "not_due", None),
        ("10-23", "missed", "department"),
        ("10-22", "met", None),
        ("10-21", "late", "department"),
        ("10-20", "met", None),
    ]
    rows = conn.execute(
        "SELECT state, due_at, met_at, responsible, calendar FROM ops.delivery_window ORDER BY window_start DESC"
    ).fetchall()
    assert [tuple(r.values()) for r in rows] == [
        (s.state, s.due_at, s.met_at, s.responsible, s.calendar) for s in states
    ]


@pytest.mark.parametrize(
    ("attempts", "responsible", "cause"),
    [
        ([], "department", "nothing_delivered"),
        ([("failed", "department", "nothing_delivered", "10:00")], "department", "nothing_delivered"),
        ([("failed", "front_end", "source_unavailable", "10:00")], "front_end", "source_unavailable"),
        ([("refused", "department", "structure.columns", "10:00")], "department", "structure.columns"),
        ([("failed", "ours", "internal", "10:00")], "ours", "internal"),
        ([("staged", None, None, "10:00")], "ours", "unfinished"),
        ([("held", None, None, "10:00")], "ours", "held"),
        # the last attempt before it was due tells
        (
            [
                ("failed", "department", "nothing_delivered", "10:00"),
                ("failed", "front_end", "source_unavailable", "17:00"),
                ("failed", "department", "nothing_delivered", "20:00"),
            ],
            "front_end",
            "source_unavailable",
        ),
    ],
)
def test_a_missed_window_is_laid_at_the_right_door(
    conn: Conn, settings: Settings, ledger: Ledger, attempts: list[tuple[str, str | None, str | None, str]],
    responsible: str, cause: str,
) -> None:  # fmt: skip
    for status, who, why, time in attempts:
        ledger.batch(
            "gaj.hj", at(f"2026-10-23 {time}"), window=day("2026-10-23"), status=status, responsible=who, cause=why
        )
    states = judge(conn, settings, resource(delivery={"since": "2026-10-23"}))
    missed = next(s for s in states if s.window_start == at("2026-10-23"))
    assert (missed.state, missed.responsible, missed.cause) == ("missed", responsible, cause)


def test_what_was_delivered_in_time_and_published_late_is_our_fault(
    conn: Conn, settings: Settings, ledger: Ledger
) -> None:
    batch = ledger.batch("gaj.hj", at("2026-10-23 20:00"), window=day("2026-10-23"))
    conn.execute("UPDATE ops.batch SET staged_at = %s WHERE batch_id = %s", (at("2026-10-23 10:00"), batch))
    [_, late] = judge(conn, settings, resource(delivery={"since": "2026-10-23"}))
    assert (late.state, late.responsible, late.cause) == ("late", "ours", "published_late")


def test_a_late_delivery_after_a_broken_front_end_is_the_front_ends(
    conn: Conn, settings: Settings, ledger: Ledger
) -> None:
    ledger.batch(
        "gaj.hj",
        at("2026-10-23 10:00"),
        window=day("2026-10-23"),
        status="failed",
        responsible="front_end",
        cause="source_unavailable",
    )
    ledger.batch("gaj.hj", at("2026-10-23 20:00"), window=day("2026-10-23"))
    [_, late] = judge(conn, settings, resource(delivery={"since": "2026-10-23"}))
    assert (late.state, late.responsible) == ("late", "front_end")


def test_a_replay_sees_only_what_was_known_then(conn: Conn, settings: Settings, ledger: Ledger) -> None:
    ledger.batch("gaj.hj", at("2026-10-23 20:00"), window=day("2026-10-23"))
    r = resource(delivery={"since": "2026-10-23"})
    assert short(judge(conn, settings, r, now="2026-10-23 12:00")) == [("10-23", "not_due", None)]
    assert short(judge(conn, settings, r, now="2026-10-23 19:00")) == [("10-23", "missed", "department")]
    assert short(judge(conn, settings, r, now="2026-10-23 21:00")) == [("10-23", "late", "department")]


def test_a_plain_date_means_its_end(conn: Conn, settings: Settings) -> None:
    catalog = make_catalog([GAJ], [resource(delivery={"since": "2026-10-23"})])
    assert short(assess(conn, settings, catalog, date(2026, 10, 23))) == [("10-23", "missed", "department")]


def test_without_since_windows_count_from_publication_but_not_from_before_last_month(
    conn: Conn, settings: Settings
) -> None:
    states = judge(conn, settings, resource("每月"), resource("每月", "new", published="2026-10-15"))
    assert [(s.resource_id, *short([s])[0]) for s in states] == [
        ("gaj.hj", "10-01", "not_due", None),
        ("gaj.hj", "09-01", "missed", "department"),
        ("gaj.new", "10-01", "not_due", None),
    ]
    quarterly = resource("每季度", delivery={"due_days": 20, "working_days": True})
    assert short(judge(conn, settings, quarterly, now="2026-11-30 09:00")) == [
        ("10-01", "not_due", None),
        ("07-01", "missed", "department"),
    ]


def test_irregular_resources_are_not_counted(conn: Conn, settings: Settings) -> None:
    assert judge(conn, settings, resource("不定期"), resource("不更新", "old")) == []


def test_a_window_that_is_looked_at_ahead_of_time_leaves_nothing_behind(conn: Conn, settings: Settings) -> None:
    r = resource(delivery={"since": "2026-10-23"})
    assert len(judge(conn, settings, r, now="2099-01-01 09:00")) > 20000
    assert conn.execute("SELECT count(*) AS n FROM ops.outbox").fetchone() == {"n": 0}
    judge(conn, settings, r)
    rows = conn.execute("SELECT window_start FROM ops.delivery_window ORDER BY window_start").fetchall()
    assert [r["window_start"] for r in rows] == [at("2026-10-23"), at("2026-10-24")]


def test_missed_windows_are_told_once_and_taken_back_when_they_were_delivered(
    conn: Conn, settings: Settings, ledger: Ledger
) -> None:
    r = resource(delivery={"since": "2026-10-23"})
    for _ in range(2):
        judge(conn, settings, r)
    ledger.batch("gaj.hj", at("2026-10-24 08:00"), window=day("2026-10-23"))
    for _ in range(2):
        judge(conn, settings, r)
    events = conn.execute(
        "SELECT kind, cause, payload->>'responsible' AS who FROM ops.outbox ORDER BY event_id"
    ).fetchall()
    assert [tuple(e.values()) for e in events] == [
        ("missed", "nothing_delivered", "department"),
        ("recovered", "delivered_late", "department"),
    ]


def test_our_own_fault_is_not_told_to_the_department(conn: Conn, settings: Settings, ledger: Ledger) -> None:
    ledger.batch(
        "gaj.hj",
        at("2026-10-23 10:00"),
        window=day("2026-10-23"),
        status="failed",
        responsible="ours",
        cause="internal",
    )
    judge(conn, settings, resource(delivery={"since": "2026-10-23"}))
    assert conn.execute("SELECT count(*) AS n FROM ops.outbox").fetchone() == {"n": 0}


# --- updates that aren't -----------------------------------------------------------------------------


def batch(n: int, sha256: str, changed: int = 1, window: int | None = None) -> dict[str, Any]:
    return {
        "resource_id": "gaj.hj",
        "batch_id": f"b{n}",
        "window_start": at("2026-10-01") + timedelta(window if window is not None else n),
        "published_at": at("2026-10-01 10:00") + timedelta(n),
        "sha256": sha256,
        "rows_new": changed,
        "rows_changed": 0,
        "rows_deleted": 0,
    }


def found(*batches: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    return [(s.kind, s.batches) for s in find_stale_updates(batches)]


def test_the_same_content_again_is_suspected() -> None:
    assert found(batch(1, "x"), batch(2, "x", 0)) == [("same_content", ("b1", "b2"))]


def test_last_months_file_is_suspected() -> None:
    assert found(batch(1, "x"), batch(2, "y"), batch(3, "x")) == [("old_content", ("b1", "b3"))]


def test_nothing_changed_for_three_windows_is_suspected_once() -> None:
    assert found(*(batch(n, f"s{n}", 1 if n == 1 else 0) for n in range(1, 7))) == [
        ("nothing_changed", ("b1", "b2", "b3", "b4"))
    ]
    assert found(*(batch(n, f"s{n}", 1 if n in (1, 3) else 0) for n in range(1, 6))) == []


def test_a_second_delivery_within_a_window_is_no_false_update() -> None:
    assert found(batch(1, "x", window=1), batch(2, "x", window=1), batch(3, "y")) == []


def test_false_updates_are_read_from_the_ledger(conn: Conn, ledger: Ledger) -> None:
    for n in (1, 2):
        ledger.batch("gaj.hj", at(f"2026-10-0{n} 10:00"), window=day(f"2026-10-0{n}"), new=1)
    conn.execute("UPDATE ops.batch SET sha256 = 'x'")
    [stale] = load_stale_updates(conn, "gaj.hj", at("2026-10-01"), at("2026-11-01"))
    assert (stale.resource_id, stale.kind, stale.since) == ("gaj.hj", "same_content", at("2026-10-01"))
