"""Increments lose nothing: watermarks against real front-ends, late and repeated files, backfills, deletions.

Every test runs the whole way and compares what serves with what the department holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bad_input import FrontEnd, Row, connection_json, files_source, serving, sound_rows, write_catalog, write_csv

from guiji.catalog import load_catalog
from guiji.errors import DeliveryRefused, NothingDelivered
from guiji.ledger import get_watermark
from guiji.library.resolve import resolve
from guiji.pipeline import run_resource
from guiji.records import BatchRecord, Window
from guiji.settings import TIME_ZONE, Settings

PEOPLE = sound_rows(60)
NOW = datetime(2026, 10, 20, 9, tzinfo=TIME_ZONE)


def person(i: int, updated: str | None, name: str | None = None) -> Any:
    """One of the sixty with another time of change, and another name."""
    return (PEOPLE[i][0], name or PEOPLE[i][1], PEOPLE[i][2], updated)


# --- databases ----------------------------------------------------------------------------------------


@pytest.fixture(params=["postgres", "mariadb"])
def front_end(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FrontEnd]:
    server = request.getfixturevalue("fep_postgres" if request.param == "postgres" else "mariadb_server")
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(server, "fep_ab"))
    found = FrontEnd(server)
    yield found
    found.close()


def pull(settings: Settings, front_end: FrontEnd, lag: int = 0, **more: Any) -> Settings:
    """The resource as an incremental table; ``more`` goes into the catalog file."""
    source = {**front_end.source, "cursor": "更新时间", "lag_seconds": lag}
    tolerance = {"rejected": 1.0, "deleted": 0.2}
    return write_catalog(settings, {"source": source, "load": "incremental", "tolerance": tolerance, **more}).at(NOW)


def counts(record: BatchRecord) -> tuple[int, int, int, int, int]:
    """(read, rejected, new, changed, unchanged)."""
    return (record.rows_read, record.rows_rejected, record.rows_new, record.rows_changed, record.rows_unchanged)


def cursor_of(conn: Any) -> str | None:
    conn.rollback()
    watermark = get_watermark(conn, "ab.people")
    return watermark.cursor if watermark else None


def test_f02_a_row_with_the_boundary_time_is_read(settings: Settings, front_end: FrontEnd, conn: Any) -> None:
    city = pull(settings, front_end)
    at = "2026-10-01 08:00:00"
    front_end.insert([person(i, at) for i in range(3)])
    assert counts(run_resource("ab.people", city)) == (3, 0, 3, 0, 0)
    front_end.insert([person(3, at)])
    assert counts(run_resource("ab.people", city)) == (4, 0, 1, 0, 3)
    assert serving(conn) == {person(i, at) for i in range(4)}
    assert counts(run_resource("ab.people", city)) == (4, 0, 0, 0, 4)


def test_f03_a_transaction_that_commits_late_is_read(settings: Settings, front_end: FrontEnd, conn: Any) -> None:
    city = pull(settings, front_end, lag=3600)
    front_end.insert([person(0, "2026-10-01 08:00:00")])
    with front_end.engine.connect() as late:
        transaction = late.begin()
        marks = ", ".join(["%s"] * 4)
        late.exec_driver_sql(
            f"INSERT INTO people ({', '.join(front_end.names)}) VALUES ({marks})", person(1, "2026-10-01 08:30:00")
        )
        front_end.insert([person(2, "2026-10-01 09:00:00")])
        assert run_resource("ab.people", city).rows_new == 2
        transaction.commit()
    assert run_resource("ab.people", city).rows_new == 1
    assert serving(conn) == {
        person(0, "2026-10-01 08:00:00"),
        person(1, "2026-10-01 08:30:00"),
        person(2, "2026-10-01 09:00:00"),
    }


def test_f05_a_row_dated_back_within_the_lag_is_read_and_beyond_it_by_a_backfill(
    settings: Settings, front_end: FrontEnd, conn: Any
) -> None:
    city = pull(settings, front_end, lag=3600)
    front_end.insert([person(0, "2026-10-01 09:00:00")])
    run_resource("ab.people", city)
    within, beyond = person(1, "2026-10-01 08:00:01"), person(2, "2026-10-01 07:59:59")
    front_end.insert([within, beyond])
    run_resource("ab.people", city)
    assert serving(conn) == {person(0, "2026-10-01 09:00:00"), within}
    day = datetime(2026, 10, 1, tzinfo=TIME_ZONE)
    before = cursor_of(conn)
    again = run_resource("ab.people", city, Window(day, day + timedelta(hours=8)))
    assert counts(again) == (1, 0, 1, 0, 0)
    assert serving(conn) == {person(0, "2026-10-01 09:00:00"), within, beyond}
    assert cursor_of(conn) == before


def test_f06_a_row_without_a_cursor_is_counted_every_time(settings: Settings, front_end: FrontEnd, conn: Any) -> None:
    city = pull(settings, front_end)
    sound = [person(i, f"2026-10-01 08:{i:02d}:00") for i in range(50)]
    front_end.insert([*sound, person(50, None)])
    assert counts(run_resource("ab.people", city)) == (51, 1, 50, 0, 0)
    assert serving(conn) == set(sound)
    rules = conn.execute("SELECT DISTINCT rule_id FROM ops.finding WHERE verdict = 'rejected'").fetchall()
    assert [r["rule_id"] for r in rules] == ["cursor.blank"]
    second = run_resource("ab.people", city)
    assert (second.rows_read, second.rows_rejected) == (2, 1)


def test_f07_a_row_from_2099_does_not_freeze_the_resource(settings: Settings, front_end: FrontEnd, conn: Any) -> None:
    city = pull(settings, front_end)
    front_end.insert([person(0, "2026-10-01 08:00:00"), person(1, "2099-01-01 00:00:00")])
    first = run_resource("ab.people", city)
    assert counts(first) == (2, 1, 1, 0, 0)
    cursor = cursor_of(conn)
    assert cursor is not None
    assert cursor.startswith("2026-10-01 08:00:00")
    front_end.insert([person(2, "2026-10-20 08:59:00")])
    run_resource("ab.people", city)
    assert serving(conn) == {person(0, "2026-10-01 08:00:00"), person(2, "2026-10-20 08:59:00")}
    rules = conn.execute("SELECT DISTINCT rule_id FROM ops.finding WHERE verdict = 'rejected'").fetchall()
    assert [r["rule_id"] for r in rules] == ["cursor.future"]


def test_an_older_version_never_overwrites_a_newer_one(settings: Settings, front_end: FrontEnd, conn: Any) -> None:
    city = pull(settings, front_end, lag=86_400)
    front_end.insert([person(0, "2026-10-01 08:00:00", "新名")])
    run_resource("ab.people", city)
    front_end.replace_all([person(0, "2026-10-01 07:00:00", "旧名")])
    record = run_resource("ab.people", city)
    assert (record.rows_superseded, record.rows_changed) == (1, 0)
    assert serving(conn) == {person(0, "2026-10-01 08:00:00", "新名")}


def test_nothing_changed_is_an_empty_increment(settings: Settings, front_end: FrontEnd, conn: Any) -> None:
    city = pull(settings, front_end)
    record = run_resource("ab.people", city)
    assert (record.status, record.rows_read) == ("published", 0)
    front_end.insert([person(0, "2026-10-01 08:00:00")])
    assert run_resource("ab.people", city).rows_new == 1


def test_a_backfill_reads_its_window_only_and_leaves_the_watermark(
    settings: Settings, front_end: FrontEnd, conn: Any
) -> None:
    city = pull(settings, front_end)
    front_end.insert([person(i, f"2026-10-{i + 1:02d} 00:00:00") for i in range(10)])
    assert run_resource("ab.people", city).rows_new == 10
    before = cursor_of(conn)
    for i in (1, 2, 3, 4):  # changed in place, without touching the time: only a backfill can see it
        front_end.run(f"UPDATE people SET {front_end.names[1]} = '改名' WHERE {front_end.names[0]} = '{PEOPLE[i][0]}'")
    window = Window.parse("2026-10-03/2026-10-05")
    record = run_resource("ab.people", city, window)
    assert counts(record) == (2, 0, 0, 2, 0)
    assert (record.window_start, record.window_end) == (window.start, window.end)
    assert {r[0] for r in serving(conn) if r[1] == "改名"} == {PEOPLE[2][0], PEOPLE[3][0]}
    assert cursor_of(conn) == before


def test_f10_a_tombstone_deletes_softly(settings: Settings, front_end: FrontEnd, conn: Any) -> None:
    city = pull(settings, front_end, tombstone="person_name = '已注销'")
    front_end.insert([person(i, "2026-10-01 08:00:00") for i in range(10)])
    run_resource("ab.people", city)
    front_end.run(
        f"UPDATE people SET {front_end.names[1]} = '已注销', {front_end.names[3]} = '2026-10-02 08:00:00'"
        f" WHERE {front_end.names[0]} = '{PEOPLE[4][0]}'"
    )
    record = run_resource("ab.people", city)
    assert (record.rows_tombstone, record.rows_new, record.rows_changed) == (1, 0, 0)
    assert serving(conn) == {person(i, "2026-10-01 08:00:00") for i in range(10) if i != 4}


def test_f10_deletions_of_a_snapshot_are_soft_and_a_mass_of_them_is_held(
    settings: Settings, front_end: FrontEnd, conn: Any
) -> None:
    city = write_catalog(settings, {"source": front_end.source}).at(NOW)
    front_end.insert(list(PEOPLE))
    run_resource("ab.people", city)
    front_end.replace_all(list(PEOPLE[5:]))
    record = run_resource("ab.people", city)
    assert (record.status, record.rows_deleted, record.rows_unchanged) == ("published", 5, 55)
    assert serving(conn) == set(PEOPLE[5:])
    gone = conn.execute("SELECT person_id FROM source.ab__people WHERE _deleted_at IS NOT NULL").fetchall()
    assert {g["person_id"] for g in gone} == {r[0] for r in PEOPLE[:5]}
    front_end.replace_all(list(PEOPLE[38:]))  # 60 % of what serves is missing
    held = run_resource("ab.people", city)
    assert (held.status, held.rows_deleted, held.rows_held) == ("held", 0, 22)
    assert serving(conn) == set(PEOPLE[5:])
    front_end.replace_all(list(PEOPLE))
    back = run_resource("ab.people", city)
    assert (back.status, back.rows_new, back.rows_unchanged) == ("published", 5, 55)


@pytest.mark.parametrize(("share", "status"), [(100, "published"), (89, "published"), (60, "held")])
def test_f12_a_partial_extract_is_not_taken_for_a_full_one(
    settings: Settings, front_end: FrontEnd, conn: Any, share: int, status: str
) -> None:
    city = write_catalog(settings, {"source": front_end.source}).at(NOW)
    front_end.insert(list(PEOPLE))
    run_resource("ab.people", city)
    kept = PEOPLE[: len(PEOPLE) * share // 100]
    front_end.replace_all(list(kept))
    assert run_resource("ab.people", city).status == status
    assert serving(conn) == (set(kept) if status == "published" else set(PEOPLE))


# --- files --------------------------------------------------------------------------------------------


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder


def series(settings: Settings, exports: Path, **more: Any) -> Settings:
    """The resource as a series of files, each with what changed; the file's date decides, no field does."""
    return write_catalog(settings, {**files_source(exports), "load": "incremental", "order": [], **more}).at(NOW)


def deliver(exports: Path, day: int, rows: list[Row], stamp: int = 0) -> Path:
    path = write_csv(exports / f"people_202610{day:02d}.csv", rows)
    os.utime(path, (1_790_000_000 + stamp, 1_790_000_000 + stamp))
    return path


A1, A2, A3 = (person(0, "2026-10-01 08:00:00", f"第{n}版") for n in "一二三")
B1, C2, D3 = (person(i, "2026-10-01 08:00:00") for i in (1, 2, 3))


def test_f36_files_that_come_as_3_1_2_leave_the_newest_version(settings: Settings, exports: Path, conn: Any) -> None:
    city = series(settings, exports)
    deliver(exports, 3, [A3, D3])
    assert run_resource("ab.people", city).rows_new == 2
    deliver(exports, 1, [A1, B1], stamp=100)
    first = run_resource("ab.people", city)
    assert (first.rows_new, first.rows_superseded, first.rows_changed) == (1, 1, 0)
    deliver(exports, 2, [A2, C2], stamp=200)
    second = run_resource("ab.people", city)
    assert (second.rows_new, second.rows_superseded, second.rows_changed) == (1, 1, 0)
    assert serving(conn) == {A3, B1, C2, D3}


def test_f36_files_that_wait_together_are_a_batch_each_oldest_first(
    settings: Settings, exports: Path, conn: Any
) -> None:
    city = series(settings, exports)
    deliver(exports, 3, [A3, D3], stamp=0)
    deliver(exports, 1, [A1, B1], stamp=100)
    deliver(exports, 2, [A2, C2], stamp=200)
    last = run_resource("ab.people", city)
    assert (last.rows_new, last.rows_changed, last.rows_rejected) == (1, 1, 0)
    rows = conn.execute(
        "SELECT f.path, b.status, b.rows_new, b.rows_changed, b.rows_rejected, b.rows_superseded FROM ops.batch b"
        " JOIN ops.file f USING (batch_id) ORDER BY b.batch_no"
    ).fetchall()
    assert [tuple(r.values()) for r in rows] == [
        ("people_20261001.csv", "published", 2, 0, 0, 0),
        ("people_20261002.csv", "published", 1, 1, 0, 0),
        ("people_20261003.csv", "published", 1, 1, 0, 0),
    ]
    assert serving(conn) == {A3, B1, C2, D3}
    history = conn.execute("SELECT person_name FROM source.ab__people__history ORDER BY person_name").fetchall()
    assert {h["person_name"] for h in history} == {"第一版", "第二版"}


def test_a_bad_file_of_a_series_does_not_stop_the_newer_ones(settings: Settings, exports: Path, conn: Any) -> None:
    city = series(settings, exports)
    deliver(exports, 1, [A1, B1])
    (exports / "people_20261002.csv").write_text("公民身份号码,姓名\n1,2\n", encoding="utf-8")
    deliver(exports, 3, [A3, D3])
    with pytest.raises(DeliveryRefused) as caught:
        run_resource("ab.people", city)
    assert "people_20261002.csv" in str(caught.value)
    assert serving(conn) == {A3, B1, D3}
    rows = conn.execute("SELECT status FROM ops.batch ORDER BY batch_no").fetchall()
    assert sorted(r["status"] for r in rows) == ["published", "published", "refused"]
    with pytest.raises(DeliveryRefused):  # the bad one alone is looked at again, and told once
        run_resource("ab.people", city)
    assert conn.execute("SELECT count(*) AS n FROM ops.outbox WHERE kind = 'refused'").fetchone()["n"] == 1
    deliver(exports, 2, [A2, C2])
    mended = run_resource("ab.people", city)
    assert (mended.rows_new, mended.rows_superseded) == (1, 1)
    assert serving(conn) == {A3, B1, C2, D3}


def test_f35_the_same_content_under_a_new_name_is_a_duplicate(settings: Settings, exports: Path, conn: Any) -> None:
    city = series(settings, exports)
    deliver(exports, 1, [A1, B1])
    run_resource("ab.people", city)
    deliver(exports, 2, [A1, B1], stamp=100)
    record = run_resource("ab.people", city)
    assert (record.status, record.rows_read, record.rows_duplicate, record.rows_changed) == ("published", 2, 2, 0)
    with pytest.raises(NothingDelivered):
        run_resource("ab.people", city.at(NOW + timedelta(days=1)))


def test_f35_the_same_name_with_new_content_is_a_new_version(settings: Settings, exports: Path, conn: Any) -> None:
    city = series(settings, exports)
    deliver(exports, 1, [A1, B1])
    run_resource("ab.people", city)
    deliver(exports, 1, [A2, B1], stamp=100)
    record = run_resource("ab.people", city)
    assert (record.rows_changed, record.rows_unchanged) == (1, 1)
    assert serving(conn) == {A2, B1}


def test_f36_a_snapshot_of_an_older_day_changes_nothing(settings: Settings, exports: Path, conn: Any) -> None:
    city = write_catalog(settings, {**files_source(exports), "order": []}).at(NOW)
    deliver(exports, 3, list(PEOPLE))
    run_resource("ab.people", city)
    deliver(exports, 1, list(PEOPLE[:55]), stamp=100)
    late = run_resource("ab.people", city, Window.parse("2026-10-01/2026-10-02"))
    assert (late.status, late.rows_superseded, late.rows_deleted) == ("published", 55, 0)
    assert serving(conn) == set(PEOPLE)


def test_a_backfill_of_files_takes_those_of_its_window(settings: Settings, exports: Path, conn: Any) -> None:
    city = series(settings, exports)
    for day, row in ((1, A1), (2, C2), (3, D3)):
        deliver(exports, day, [row])
    run_resource("ab.people", city)
    record = run_resource("ab.people", city, Window.parse("2026-10-02/2026-10-03"))
    assert (record.rows_read, record.rows_unchanged) == (1, 1)
    with pytest.raises(NothingDelivered):
        run_resource("ab.people", city, Window.parse("2026-09-01/2026-10-01"))
    assert serving(conn) == {A1, C2, D3}


def test_economy_keeps_every_vintage_of_monthly_files_that_wait_together(
    settings: Settings, exports: Path, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUIJI_EXPORTS", str(exports))
    (exports / "tjj").mkdir()
    for month, figures in ((8, "105.00,"), (9, "107.50,99.00"), (10, "107.50,98.00")):
        text = (
            "数据库：月度数据\r\n地区：鄂尔多斯市\r\n指标,计量单位,口径,2026年7月,2026年8月\r\n"
            f"社会消费品零售总额,万元,累计,{figures}\r\n注：快报数。\r\n"
        )
        (exports / "tjj" / f"月度数据_2026{month:02d}.csv").write_bytes(text.encode("gb18030"))
    city = replace(settings, fixed_now=NOW)
    record = run_resource("tjj.monthly_indicator", city)
    assert (record.rows_read, record.rows_changed, record.rows_unchanged, record.rows_rejected) == (2, 1, 1, 0)
    with pytest.raises(NothingDelivered):
        run_resource("tjj.monthly_indicator", city.at(NOW + timedelta(days=40)))
    resolve(conn, city, "economy", load_catalog(city.catalog))
    conn.rollback()
    found = conn.execute("SELECT period, _vintage, value FROM library.indicator ORDER BY period, _vintage").fetchall()
    assert [tuple(r.values()) for r in found] == [
        ("2026年7月", 1, Decimal("105.000000")),
        ("2026年7月", 2, Decimal("107.500000")),
        ("2026年8月", 1, Decimal("99.000000")),
        ("2026年8月", 2, Decimal("98.000000")),
    ]
