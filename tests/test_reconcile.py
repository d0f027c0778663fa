"""Reconciling a resource with its front-end: what no increment would have brought is found, told and repaired."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg
import pytest
from bad_input import connection_json, ledger_text, run_command, write_catalog, write_library

from guiji.errors import LeaseLost, SourceUnavailable, UsageError
from guiji.library import reconcile as compared
from guiji.pipeline import run_resource
from guiji.reconciliation import reconcile_resource
from guiji.settings import TIME_ZONE, Settings

Fill = Callable[..., None]
NOW = datetime(2026, 10, 20, 9, tzinfo=TIME_ZONE)
FIELDS: list[dict[str, Any]] = [
    {"name": "no", "title": "编号", "column": "id", "nullable": False, "length": 9, "sensitivity": 3},
    {"name": "title", "title": "名称", "column": "title", "nullable": False, "sensitivity": 3},
    {"name": "amount", "title": "金额", "column": "amount", "type": "decimal128(18,2)"},
    {"name": "head_count", "title": "人数", "column": "heads", "type": "int64", "minimum": 0},
    {"name": "updated_at", "title": "更新时间", "column": "ts", "type": "timestamp"},
]
SOURCE: dict[str, Any] = {"kind": "database", "connection": "fep_ab", "table": "t"}
INCREMENTAL: dict[str, Any] = {
    "load": "incremental",
    "source": {**SOURCE, "cursor": "ts", "lag_seconds": 3600},
    "fields": FIELDS,
    "key": ["no"],
    "order": ["updated_at"],
}


@pytest.fixture
def fill(fep_postgres: Any, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Runs statements in the department's database; 200 rows of one day stand in table t."""
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(fep_postgres, "fep_ab"))

    def run(*statements: str) -> None:
        with psycopg.connect(fep_postgres.admin_url, autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement.encode())

    run(
        "CREATE TABLE t (id text, title text, amount numeric, heads bigint, ts timestamp)",
        "INSERT INTO t SELECT 'k' || n, '单位' || n, n + 0.25, n % 7, timestamp '2026-10-01 08:00' + n * interval '1 minute'"
        " FROM generate_series(1, 200) n",
    )
    return run


@pytest.fixture
def city(settings: Settings, fill: Fill) -> Settings:
    """A city in which the resource was gathered once."""
    city = write_catalog(settings.at(NOW), INCREMENTAL)
    assert run_resource("ab.people", city).rows_new == 200
    return city


def rows(conn: Any, *names: str) -> list[tuple[Any, ...]]:
    conn.rollback()
    listed = ", ".join(names)
    return [
        tuple(r.values())
        for r in conn.execute(
            f'SELECT {listed} FROM source.ab__people WHERE _deleted_at IS NULL ORDER BY no COLLATE "C"'
        )
    ]


def counts(found: compared.Reconciliation) -> dict[str, int]:
    return {n: found.count(n) for n in ("missing", "stale", "surplus", "pending") if found.count(n)}


def kept(conn: Any) -> list[dict[str, Any]]:
    conn.rollback()
    return list(conn.execute("SELECT * FROM ops.reconciliation ORDER BY reconciliation_id"))


def events(conn: Any) -> list[tuple[str, str]]:
    conn.rollback()
    return [
        (r["kind"], r["payload"].get("difference"))
        for r in conn.execute("SELECT kind, payload FROM ops.outbox WHERE kind = 'differs' ORDER BY event_id")
    ]


def test_what_agrees_is_recorded_and_changes_nothing(city: Settings, conn: Any) -> None:
    before = rows(conn, "*")
    found = reconcile_resource("ab.people", city, repair=True)
    assert (found.agrees, counts(found), found.repaired, found.buckets) == (True, {}, None, ())
    assert (found.rows_front_end, found.rows_layer, found.rows_rejected) == (200, 200, 0)
    assert [(s.field, s.front_end, s.layer) for s in found.sums] == [
        ("amount", "20150.00", "20150.00"),
        ("head_count", "598", "598"),
    ]
    assert rows(conn, "*") == before
    assert [(r["agrees"], r["rows_front_end"], r["rows_layer"], r["repaired_batch"]) for r in kept(conn)] == [
        (True, 200, 200, None)
    ]
    assert events(conn) == []
    assert conn.execute("SELECT count(*) AS n FROM ops.batch").fetchone()["n"] == 1


def test_f05_the_lag_catches_the_one_and_reconciling_the_other(city: Settings, fill: Fill, conn: Any) -> None:
    """The watermark is 11:20, the lag an hour: 10:21 is read by the next run, 10:19 by none."""
    fill(
        "INSERT INTO t VALUES ('in', '迟到', 1000, 1, '2026-10-01 10:21'), ('out', '更迟', 2000, 2, '2026-10-01 10:19')"
    )
    before = reconcile_resource("ab.people", city)
    assert (counts(before), before.agrees) == ({"missing": 1, "pending": 1}, False)
    assert run_resource("ab.people", city).rows_new == 1
    found = reconcile_resource("ab.people", city)
    assert (counts(found), found.agrees) == ({"missing": 1}, False)
    assert [(b.front_end - b.layer, b.missing) for b in found.buckets] == [(1, 1)]
    assert [(s.front_end, s.layer) for s in found.sums if s.field == "amount"] == [("23150.00", "21150.00")]
    assert [r for r in rows(conn, "no") if r[0] in ("in", "out")] == [("in",)]
    assert events(conn) == [("differs", "前置机有而平台没有 1 条")] * 2


def test_f05_a_repair_reads_the_buckets_that_differ_as_a_batch(city: Settings, fill: Fill, conn: Any) -> None:
    watermark = conn.execute("SELECT cursor FROM ops.watermark").fetchone()
    fill(
        "INSERT INTO t VALUES ('late', '迟到', 1000, 1, '2026-10-01 09:00')",
        "UPDATE t SET amount = 7.5 WHERE id = 'k5'",  # without touching the cursor
    )
    found = reconcile_resource("ab.people", city, repair=True)
    assert counts(found) == {"missing": 1, "stale": 1}
    conn.rollback()
    record = conn.execute("SELECT * FROM ops.batch WHERE batch_id = %s", (found.repaired,)).fetchone()
    touched = sum(b.front_end for b in found.buckets if b.differs)
    assert (record["status"], record["rows_read"], record["rows_new"], record["rows_changed"]) == (
        "published", touched, 1, 1,
    )  # fmt: skip
    assert 2 <= touched < 60
    assert record["rows_unchanged"] == touched - 2
    assert [r for r in rows(conn, "no", "amount::text") if r[0] in ("k5", "late")] == [
        ("k5", "7.50"),
        ("late", "1000.00"),
    ]
    assert conn.execute("SELECT cursor FROM ops.watermark").fetchone() == watermark
    assert [(r["agrees"], r["keys_missing"], r["keys_stale"], r["repaired_batch"]) for r in kept(conn)] == [
        (False, 1, 1, found.repaired)
    ]
    assert events(conn) == [("differs", "前置机有而平台没有 1 条；两边内容不同 1 条。缺少和不同的部分已重新读取")]
    assert reconcile_resource("ab.people", city).agrees


def test_keys_that_only_stand_here_are_counted_and_not_deleted(city: Settings, fill: Fill, conn: Any) -> None:
    fill("DELETE FROM t WHERE id IN ('k1', 'k2', 'k3')")
    found = reconcile_resource("ab.people", city, repair=True)
    assert (counts(found), found.repaired) == ({"surplus": 3}, None)
    assert len(rows(conn, "no")) == 200
    assert events(conn) == [("differs", "平台有而前置机已没有 3 条")]


def test_a_rejected_rows_key_is_neither_missing_nor_stale(city: Settings, fill: Fill, conn: Any) -> None:
    fill(
        "UPDATE t SET heads = -1 WHERE id = 'k9'",
        "INSERT INTO t VALUES ('bad', '负数', 1, -5, '2026-10-01 08:00')",
    )
    found = reconcile_resource("ab.people", city)
    assert (found.rows_rejected, counts(found), found.agrees) == (2, {}, True)


def test_a_rejected_row_whose_key_cannot_be_read_leaves_it_open_what_is_surplus(city: Settings, fill: Fill) -> None:
    fill("UPDATE t SET id = NULL WHERE id = 'k9'")
    found = reconcile_resource("ab.people", city)
    assert (found.keys_unsettled, counts(found), found.agrees) == (1, {}, True)


def test_a_snapshot_repairs_itself_by_a_run(settings: Settings, fill: Fill, conn: Any) -> None:
    city = write_catalog(settings.at(NOW), {"source": SOURCE, "fields": FIELDS, "key": ["no"], "order": ["updated_at"]})
    run_resource("ab.people", city)
    fill("DELETE FROM t WHERE id = 'k1'", "INSERT INTO t VALUES ('new', '新', 1, 1, '2026-10-02 08:00')")
    found = reconcile_resource("ab.people", city, repair=True)
    assert counts(found) == {"missing": 1, "surplus": 1}
    numbers = {r[0] for r in rows(conn, "no")}
    assert ("k1" in numbers, "new" in numbers, len(numbers)) == (False, True, 200)
    assert reconcile_resource("ab.people", city).agrees


def test_a_chunked_resource_is_compared_like_any_other(settings: Settings, fill: Fill) -> None:
    chunked = {**INCREMENTAL, "source": {**INCREMENTAL["source"], "chunk_key": "id", "chunk_key_rows": 30}}
    city = write_catalog(settings.at(NOW), chunked)
    assert run_resource("ab.people", city).rows_new == 200
    assert reconcile_resource("ab.people", city).agrees


def test_before_the_first_run_everything_waits(settings: Settings, fill: Fill) -> None:
    city = write_catalog(settings.at(NOW), INCREMENTAL)
    found = reconcile_resource("ab.people", city)
    assert (found.rows_layer, counts(found), found.agrees) == (0, {"pending": 200}, True)


LIBRARY: dict[str, Any] = {
    "name": "units",
    "table": "unit",
    "title": "单位库",
    "key": [{"name": "unit_no", "title": "编号", "sensitivity": 3}],
    "fields": [{"name": "title", "title": "名称", "sensitivity": 3, "strategy": "authority", "authority": ["ab"]}],
}


def test_req36_three_ways_the_library_that_lost_rows_is_found_and_mended(
    settings: Settings, fill: Fill, conn: Any
) -> None:
    mapped = {**INCREMENTAL, "mappings": [{"library": "units", "key": ["no"], "fields": {"title": "title"}}]}
    city = write_catalog(settings.at(NOW), mapped)
    write_library(city, LIBRARY)
    run_resource("ab.people", city)
    waiting = reconcile_resource("ab.people", city).libraries
    assert [(c.library, c.keys, c.missing, c.waiting) for c in waiting] == [("units", 200, 200, -1)]
    assert not any(c.differs for c in waiting)
    assert run_command(city, "resolve", "units").returncode == 0
    assert [(c.missing, c.waiting) for c in reconcile_resource("ab.people", city).libraries] == [(0, 0)]
    conn.execute("DELETE FROM library.unit WHERE unit_no IN ('k1', 'k2')")
    conn.commit()
    found = reconcile_resource("ab.people", city)
    assert ([(c.missing, c.waiting) for c in found.libraries], found.agrees) == ([(2, 0)], False)
    reconcile_resource("ab.people", city, repair=True)
    conn.rollback()
    assert conn.execute("SELECT count(*) AS n FROM library.unit").fetchone()["n"] == 200
    assert reconcile_resource("ab.people", city).agrees


def test_f05_what_the_front_end_marks_as_deleted_is_missing_nowhere_and_deleted_by_a_repair(
    settings: Settings, fill: Fill, conn: Any
) -> None:
    fill("ALTER TABLE t ADD gone int DEFAULT 0")
    gone = {"name": "gone", "title": "已删除", "column": "gone", "type": "int64"}
    city = write_catalog(settings.at(NOW), {**INCREMENTAL, "fields": [*FIELDS, gone], "tombstone": "gone = 1"})
    run_resource("ab.people", city)
    fill("UPDATE t SET gone = 1, ts = timestamp '2026-10-01 12:00' WHERE id = 'k1'")
    assert run_resource("ab.people", city).rows_deleted == 1
    found = reconcile_resource("ab.people", city)  # the row still stands at the front-end, marked
    assert (counts(found), found.agrees, found.rows_front_end, found.rows_layer) == ({}, True, 200, 199)
    assert [(s.front_end, s.layer) for s in found.sums if s.field == "amount"] == [("20148.75", "20148.75")]
    fill("UPDATE t SET gone = 1 WHERE id = 'k2'")  # without touching the cursor
    found = reconcile_resource("ab.people", city, repair=True)
    assert counts(found) == {"stale": 1}
    assert ("k2",) not in rows(conn, "no")
    assert reconcile_resource("ab.people", city).agrees


def test_req36_rows_without_a_key_are_counted_so_that_source_layer_and_library_add_up(
    settings: Settings, fill: Fill, conn: Any
) -> None:
    """40 rows have a key, of them 10 a newer row; 60 are linked by their number, 20 of 200 are left out, 80 find nothing."""
    fill(
        "ALTER TABLE t ADD code text",
        "UPDATE t SET code = 'c' || (n % 30) FROM generate_series(0, 39) n WHERE id = 'k' || (n + 1)",
        "CREATE TABLE register AS SELECT id, 'd' || id AS code FROM t WHERE code IS NULL ORDER BY ts LIMIT 60",
    )
    plain = {"nullable": False, "length": 9, "sensitivity": 3}
    code = {"name": "code", "title": "代码", "column": "code", "sensitivity": 3}
    register = {
        "source": {**SOURCE, "table": "register"},
        "fields": [{"name": "no", "title": "编号", "column": "id", **plain}, {**code, "nullable": False}],
        "key": ["no"],
        "order": [],
    }
    mapping = {
        "library": "units", "key": ["code"], "by": {"old_no": ["no"]}, "fields": {"title": "title"}, "where": "amount < 180.5"
    }  # fmt: skip
    write_catalog(settings, register, "register")
    city = write_catalog(settings.at(NOW), {**INCREMENTAL, "fields": [*FIELDS, code], "mappings": [mapping]})
    link = {"name": "old_no", "title": "旧号", "through": "ab.register", "fields": ["no"], "key": ["code"]}
    write_library(city, {**LIBRARY, "links": [link]})

    def fed(resource_id: str = "ab.people") -> list[tuple[int, ...]]:
        found = reconcile_resource(resource_id, city).libraries
        return [(c.keys, *(getattr(c.rows, n) for n in ("rows", "excluded", "unlinked", "repeated"))) for c in found]

    run_resource("ab.people", city)
    assert fed() == [(30, 200, 20, 140, 10)]  # the register has not come
    run_resource("ab.register", city)
    assert run_command(city, "resolve", "units").returncode == 0
    assert fed() == [(90, 200, 20, 80, 10)]
    conn.rollback()
    assert conn.execute("SELECT count(*) AS n FROM library.unit").fetchone()["n"] == 90
    shown = run_command(city, "reconcile", "ab.people").stdout
    assert "200 rows = 90 keys + 10 older rows of the same key + 80 for which no key is found + 20 that the" in shown
    assert kept(conn)[-1]["libraries"][0]["rows"] == {"rows": 200, "excluded": 20, "unlinked": 80, "repeated": 10}


def test_a_publish_meanwhile_makes_the_comparison_void(
    city: Settings, fill: Fill, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("INSERT INTO t VALUES ('late', '迟到', 1000, 1, '2026-10-01 09:00')")
    whole = compared.compare_layer

    def and_then_another_run(*arguments: Any) -> compared.Reconciliation:
        found = whole(*arguments)
        fill("INSERT INTO t VALUES ('next', '新', 1, 1, '2026-10-02 08:00')")
        run_resource("ab.people", city)
        return found

    monkeypatch.setattr(compared, "compare_layer", and_then_another_run)
    with pytest.raises(LeaseLost, match="reconcile it again"):
        reconcile_resource("ab.people", city, repair=True)
    assert kept(conn) == []


def test_a_source_that_is_down_changes_nothing(
    city: Settings, fep_postgres: Any, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(fep_postgres, "fep_ab", port=1))
    with pytest.raises(SourceUnavailable):
        reconcile_resource("ab.people", city, repair=True)
    assert (kept(conn), len(rows(conn, "no"))) == ([], 200)
    assert list(city.home.glob("reconcile-*")) == []


def test_an_unknown_resource_is_wrong_use(city: Settings) -> None:
    with pytest.raises(UsageError, match="catalog list"):
        reconcile_resource("ab.nothing", city)


def test_the_command_answers_by_its_exit_code_and_shows_no_value(city: Settings, fill: Fill, conn: Any) -> None:
    fill("INSERT INTO t VALUES ('geheim', '机密单位', 1, 1, '2026-10-01 08:00')")
    done = run_command(city, "reconcile", "ab.people", "--json")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert (done.returncode, said["agrees"], said["rows_layer"]) == (1, False, 200)
    assert [w for w in ("geheim", "机密单位", "单位5") if w in done.stdout + done.stderr + ledger_text(conn)] == []
    shown = run_command(city, "reconcile", "ab.people", "--repair")
    assert (shown.returncode, "repaired by batch" in shown.stdout) == (0, True)
    assert run_command(city, "reconcile", "ab.people").returncode == 0
