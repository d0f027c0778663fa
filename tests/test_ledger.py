"""The ledger: leases that fence, tickets that close when the rows are mended, an audit trail that can't be altered."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import datetime
from typing import Any

import psycopg
import pytest
from packages import START, Bad, at_day, deliver, make_resource, stage

from guiji import ledger
from guiji.errors import LeaseLost, UsageError
from guiji.library.publish import newer_cursor
from guiji.records import DeliveredFile, Window
from guiji.settings import Settings
from guiji.warehouse import connect

OTHER_RUN = """
import sys, time
from guiji import ledger
from guiji.settings import Settings
from guiji.warehouse import connect
with connect(Settings.from_env()) as conn:
    print(ledger.acquire_lease(conn, Settings.from_env(), "gaj.person", "other"), flush=True)
    time.sleep(60)
"""


def other_process(settings: Settings) -> subprocess.Popen[str]:
    """A living process that holds the lease of gaj.person."""
    assert settings.warehouse
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_RUN],
        env={"PATH": "/usr/bin:/bin", "GUIJI_HOME": str(settings.home), "GUIJI_WAREHOUSE": settings.warehouse},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


# --- leases ------------------------------------------------------------------------------------------


def test_f51_a_second_run_finds_the_lease_taken(conn: Any, settings: Settings) -> None:
    process = other_process(settings)
    try:
        with pytest.raises(LeaseLost, match=r"Another run of gaj\.person holds it"):
            ledger.acquire_lease(conn, settings, "gaj.person", "mine")
    finally:
        process.kill()
        process.wait()


def test_f56_a_killed_run_gives_its_lease_up_at_once(conn: Any, settings: Settings) -> None:
    process = other_process(settings)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert ledger.acquire_lease(conn, settings, "gaj.person", "mine") == 2


def test_a_retry_of_the_same_run_takes_over_and_fences_its_former_self(conn: Any, settings: Settings) -> None:
    first = ledger.acquire_lease(conn, settings, "gaj.person", "mine")
    second = ledger.acquire_lease(conn, settings, "gaj.person", "mine")
    ledger.check_lease(conn, "gaj.person", second)
    with pytest.raises(LeaseLost):
        ledger.check_lease(conn, "gaj.person", first)


def test_confirming_keeps_the_token_and_takes_a_lapsed_lease_again(conn: Any, settings: Settings) -> None:
    token = ledger.acquire_lease(conn, settings, "gaj.person", "mine", seconds=0.05)
    time.sleep(0.1)
    assert ledger.confirm_lease(conn, settings, "gaj.person", "mine") == token + 1
    assert ledger.confirm_lease(conn, settings, "gaj.person", "mine") == token + 1


def test_an_expired_lease_goes_to_the_next_run(conn: Any, settings: Settings) -> None:
    token = ledger.acquire_lease(conn, settings, "gaj.person", "old", seconds=0.05)
    time.sleep(0.1)
    assert ledger.acquire_lease(conn, settings, "gaj.person", "new") == token + 1
    with pytest.raises(LeaseLost):
        ledger.check_lease(conn, "gaj.person", token)


def test_f56_a_stale_run_is_reported_exactly_once(conn: Any, settings: Settings) -> None:
    ledger.acquire_lease(conn, settings, "gaj.person", "dead", seconds=0.05)
    time.sleep(0.1)
    assert [r.resource_id for r in ledger.report_stale_runs(conn, settings)] == ["gaj.person"]
    assert ledger.report_stale_runs(conn, settings) == []
    events = conn.execute("SELECT kind, resource_id FROM ops.outbox").fetchall()
    assert events == [{"kind": "stale", "resource_id": "gaj.person"}]


def test_a_run_that_published_is_not_stale(conn: Any, settings: Settings) -> None:
    deliver(conn, settings, make_resource(), [{"id_no": "1", "name": "a", "amount": None}])
    assert ledger.stale_runs(conn, settings) == []


# --- batches -----------------------------------------------------------------------------------------


def window() -> Window:
    return Window(START, at_day_start(2))


def at_day_start(day: int) -> datetime:
    return START.replace(day=day)


def test_a_refused_delivery_opens_a_ticket_and_tells_once(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    for _ in range(2):
        record = ledger.finish_batch(
            conn, settings, resource, window(), "b1", "refused", "缺列", "department", "delivery.missing_column"
        )
    assert (record.status, record.reason) == ("refused", "缺列")
    assert [e["kind"] for e in conn.execute("SELECT kind FROM ops.outbox")] == ["refused"]
    assert [t["rule_id"] for t in conn.execute("SELECT rule_id FROM ops.ticket")] == ["delivery.missing_column"]


def test_an_unavailable_source_tells_once_a_window_and_again_when_it_is_back(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    for run in ("b1", "b2", "b3"):
        ledger.finish_batch(
            conn, settings, resource, window(), run, "failed", "down", "front_end", "source_unavailable"
        )
    deliver(conn, settings, resource, [{"id_no": "1", "name": "a", "amount": None}])
    deliver(conn, settings, resource, [{"id_no": "2", "name": "a", "amount": None}], day=2)
    events = [(e["kind"], e["cause"]) for e in conn.execute("SELECT kind, cause FROM ops.outbox ORDER BY event_id")]
    assert events == [("unavailable", "source_unavailable:fep_x"), ("recovered", "source_unavailable:fep_x")]


def test_a_published_batch_can_not_fail_afterwards(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    record = deliver(conn, settings, resource, [{"id_no": "1", "name": "a", "amount": None}])
    after = ledger.finish_batch(
        conn, settings, resource, window(), record.batch_id, "failed", "late", "ours", "internal"
    )
    assert after == record


def test_a_reason_carries_no_personal_value(conn: Any, settings: Settings) -> None:
    record = ledger.finish_batch(
        conn, settings, make_resource(), window(), "b", "failed", "bad 110105199001010017", "ours", "internal"
    )
    assert record.reason == "bad 1101************17"


def test_a_failed_batch_can_be_staged_again(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    ledger.finish_batch(conn, settings, resource, window(), "b", "failed", "x", "ours", "internal")
    stage(conn, settings, resource, [{"id_no": "1", "name": "a", "amount": None}], batch="b")
    record = ledger.get_batch(conn, "b")
    assert record is not None
    assert (record.status, record.reason, record.rows_read) == ("staged", None, 1)


def test_f54_the_equation_is_enforced_by_the_warehouse(conn: Any, settings: Settings) -> None:
    record = deliver(conn, settings, make_resource(), [{"id_no": "1", "name": "a", "amount": None}])
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute("UPDATE ops.batch SET rows_read = 2 WHERE batch_id = %s", (record.batch_id,))


# --- watermark and files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "newer"),
    [
        (None, None, None),
        (None, "1", "1"),
        ("9", "10", "10"),
        ("10", "9", "10"),
        ("2026-10-01 00:00:00.1234567", "2026-10-01 00:00:00.1234568", "2026-10-01 00:00:00.1234568"),
        ("2026-10-01T00:00:00+08:00", "2026-09-30T17:00:00+00:00", "2026-09-30T17:00:00+00:00"),
        ("b", "a", "b"),
    ],
)
def test_f04_a_watermark_keeps_exact_text_and_never_goes_back(a: str | None, b: str | None, newer: str | None) -> None:
    assert newer_cursor(a, b) == newer


def test_a_backfill_does_not_set_the_watermark_back(conn: Any, settings: Settings) -> None:
    resource = make_resource(load="incremental")
    deliver(conn, settings, resource, [{"id_no": "1", "name": "a", "amount": None}], day=5, cursor="500")
    deliver(conn, settings, resource, [{"id_no": "2", "name": "a", "amount": None}], day=1, cursor="90")
    watermark = ledger.get_watermark(conn, resource.id)
    assert watermark is not None
    assert watermark.cursor == "500"


def test_accepted_files_are_known(conn: Any, settings: Settings) -> None:
    file = DeliveredFile("a.csv", 3, START, "s" * 64, "2026-10-01")
    record = deliver(conn, settings, make_resource(), [{"id_no": "1", "name": "a", "amount": None}], files=(file,))
    (known,) = ledger.known_files(conn, "gaj.person")
    assert (known.path, known.sha256, known.business_date, known.batch_id) == (
        "a.csv",
        "s" * 64,
        "2026-10-01",
        record.batch_id,
    )


# --- tickets -----------------------------------------------------------------------------------------


def row(*numbers: int) -> list[dict[str, object]]:
    return [{"id_no": str(n), "name": f"n{n}", "amount": None} for n in numbers]


def open_rules(conn: Any) -> set[str]:
    return {t["rule_id"] for t in conn.execute("SELECT rule_id FROM ops.ticket WHERE closed_at IS NULL")}


def events(conn: Any) -> list[str]:
    return [e["kind"] for e in conn.execute("SELECT kind FROM ops.outbox ORDER BY event_id")]


def test_a_ticket_is_due_in_five_working_days_of_the_legal_calendar(conn: Any, settings: Settings) -> None:
    # 2026-09-30 is a Wednesday before the National Day holiday (1 to 7 October)
    before = at_day(settings, 0)
    deliver(conn, before, make_resource(), row(1), bad=[Bad(("name.blank",), "9")])
    ticket = conn.execute("SELECT rule_id, rows_open, due_at FROM ops.ticket").fetchone()
    from guiji.calendar import add_working_days

    assert (ticket["rule_id"], ticket["rows_open"]) == ("name.blank", 1)
    assert ticket["due_at"] == add_working_days(before.now(), 5)
    assert ticket["due_at"].day > 9


def test_a_snapshot_that_brings_the_rows_right_closes_the_ticket(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, row(1), bad=[Bad(("a.x",), "8"), Bad(("b.y", "a.x"), "9")])
    assert open_rules(conn) == {"a.x", "b.y"}
    deliver(conn, settings, resource, row(1, 9), day=2, bad=[Bad(("a.x",), "8")])
    assert open_rules(conn) == {"a.x"}
    deliver(conn, settings, resource, row(1, 8, 9), day=3)
    assert open_rules(conn) == set()
    assert events(conn) == ["failed_rows", "failed_rows", "recovered", "recovered"]
    history = conn.execute("SELECT history FROM ops.ticket WHERE rule_id = 'a.x'").fetchone()["history"]
    assert [h["event"] for h in history] == ["opened", "again", "closed"]


def test_a_row_rejected_for_another_reason_keeps_its_ticket_open(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, row(1), bad=[Bad(("a.x",), "9")])
    deliver(conn, settings, resource, row(1), day=2, bad=[Bad(("b.y",), "9")])
    assert open_rules(conn) == {"a.x", "b.y"}


def test_the_same_bad_rows_are_told_once(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    for day in (1, 2, 3):
        deliver(conn, settings, resource, row(1), day=day, bad=[Bad(("a.x",), "9")], batch=f"day{day}")
    assert events(conn) == ["failed_rows"]


def test_an_incremental_batch_without_the_bad_rows_closes_nothing(conn: Any, settings: Settings) -> None:
    resource = make_resource(load="incremental")
    deliver(conn, settings, resource, row(1), bad=[Bad(("a.x",), "8"), Bad(("a.x",), None)])
    deliver(conn, settings, resource, row(2), day=2)
    assert open_rules(conn) == {"a.x"}
    deliver(conn, settings, resource, row(8), day=3)
    assert open_rules(conn) == set()


def test_a_refused_delivery_is_mended_by_the_next_good_one(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    ledger.finish_batch(conn, settings, resource, window(), "b1", "refused", "空", "department", "delivery.empty")
    deliver(conn, settings, resource, row(1), day=2)
    assert open_rules(conn) == set()
    assert events(conn) == ["refused", "recovered"]


# --- audit -------------------------------------------------------------------------------------------


def test_an_altered_entry_breaks_the_chain_at_that_entry(conn: Any, settings: Settings) -> None:
    for n in range(5):
        ledger.append_audit(conn, settings, "somebody", "did", f"thing {n}", {"n": n, "说明": "中文"})
    assert ledger.verify_audit(conn) is None
    conn.execute("UPDATE ops.audit SET detail = '{\"n\": 99}' WHERE object = 'thing 2'")
    broken = conn.execute("SELECT audit_id FROM ops.audit WHERE object = 'thing 2'").fetchone()["audit_id"]
    assert ledger.verify_audit(conn) == broken


def test_a_removed_entry_breaks_the_chain_after_it(conn: Any, settings: Settings) -> None:
    for n in range(3):
        ledger.append_audit(conn, settings, "somebody", "did", f"thing {n}")
    conn.execute("DELETE FROM ops.audit WHERE object = 'thing 1'")
    broken = conn.execute("SELECT audit_id FROM ops.audit WHERE object = 'thing 2'").fetchone()["audit_id"]
    assert ledger.verify_audit(conn) == broken


def test_the_ledger_alone_tells_another_process_what_was_done(conn: Any, settings: Settings) -> None:
    record = deliver(conn, settings, make_resource(), row(1, 2))
    with connect(settings) as other:
        assert ledger.latest_batch(other, "gaj.person") == record


def test_an_unknown_end_of_a_batch_is_refused(conn: Any, settings: Settings) -> None:
    with pytest.raises(UsageError, match="allowed: refused, failed, superseded"):
        ledger.finish_batch(conn, settings, make_resource(), window(), "b", "done", "", "ours", "x")
