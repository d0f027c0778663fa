"""Who read which shared view: every query leaves a note that its reader can't leave out, measured as real logins."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import psycopg
import pytest
from packages import at_day, deliver
from psycopg import errors, sql
from test_sharing import ASKED, OPEN, PURPOSE, ROWS, SECRET, make_catalog, shared
from typer.testing import CliRunner

from guiji.audit import verify_audit
from guiji.cli import app
from guiji.cli_share import render_readings
from guiji.library.grants import grant_resource
from guiji.library.share_reads import KEEP_DAYS, audit_reads, count_rolled_back, list_readings
from guiji.library.share_roles import role_name
from guiji.library.sharing import sync_sharing
from guiji.open_catalog import count_open, list_open, write_open
from guiji.settings import Settings

Login = Callable[[str], Any]


@pytest.fixture
def city(conn: Any, settings: Settings) -> Settings:
    """Two resources with two rows each; 民政局 has a grant for the one that needs it."""
    settings = at_day(settings, 1)
    for resource in (OPEN, ASKED):
        deliver(conn, settings, resource, ROWS)
    catalog = make_catalog(OPEN, ASKED)
    grant_resource(conn, settings, catalog, ASKED.id, "mzj", purpose=PURPOSE, until=date(2026, 10, 31), who="wang")
    sync_sharing(conn, settings, catalog)
    return settings


@pytest.fixture
def login(conn: Any, city: Settings) -> Iterator[Login]:
    """Connections of a department's own login ``<database>_<department>``, as an administrator makes it."""
    made: list[str] = []
    with psycopg.connect(conn.info.dsn, autocommit=True) as admin:

        @contextmanager
        def connect(department: str) -> Iterator[Any]:
            name = f"{conn.info.dbname}_{department}"
            if name not in made:
                role = sql.Identifier(role_name(conn.info.dbname, department))
                admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
                admin.execute(sql.SQL("GRANT {} TO {}").format(role, sql.Identifier(name)))
                made.append(name)
            with psycopg.connect(conn.info.dsn, autocommit=True) as reader:
                reader.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(name)))
                yield reader
                reader.execute("DISCARD TEMP")  # else its role can't be dropped until the server has noticed

        yield connect
        for name in made:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def notes(conn: Any) -> list[tuple[Any, ...]]:
    conn.rollback()
    rows = conn.execute("SELECT department_id, read_no, view FROM ops.share_read ORDER BY read_id").fetchall()
    return [tuple(r.values()) for r in rows]


# --- the note ----------------------------------------------------------------------------------------

#: ways to get something out of a view, and how often it is read by them
QUERIES = {
    "SELECT * FROM share.gaj__open": 1,
    "SELECT count(*) FROM share.gaj__open": 1,
    "SELECT street FROM share.gaj__open LIMIT 1": 1,
    "SELECT 1 FROM share.gaj__open WHERE street = 'x'": 1,
    "SELECT EXISTS (SELECT FROM share.gaj__open)": 1,
    "SELECT (SELECT max(amount) FROM share.gaj__open)": 1,
    "SELECT a.name FROM share.gaj__open a JOIN share.gaj__open b USING (street)": 2,
    "WITH x AS MATERIALIZED (SELECT * FROM share.gaj__open) SELECT count(*) FROM x a, x b": 1,
    "SELECT (SELECT name FROM share.gaj__open WHERE id_no LIKE n || '%' LIMIT 1) FROM generate_series(1, 5) n": 1,
    "COPY (SELECT * FROM share.gaj__open) TO STDOUT": 1,
    "CREATE TEMP TABLE mine AS SELECT * FROM share.gaj__open": 1,
    "EXPLAIN ANALYZE SELECT * FROM share.gaj__open": 1,
    "DO $$ BEGIN PERFORM * FROM share.gaj__open; PERFORM * FROM share.gaj__open; END $$": 2,
    "EXPLAIN SELECT * FROM share.gaj__open": 0,  # reads nothing
    "SELECT * FROM share.gaj__open WHERE false": 0,
}


def test_req51_every_query_that_reads_leaves_a_note_and_one_that_reads_nothing_leaves_none(
    conn: Any, login: Login
) -> None:
    found = {}
    with login("wjw") as reader:
        for query in QUERIES:
            before = len(notes(conn))
            if query.startswith("COPY"):
                with reader.cursor().copy(query) as copy:
                    list(copy)
            else:
                reader.execute(query)
            found[query] = len(notes(conn)) - before
    assert found == QUERIES
    assert {(d, v) for d, _, v in notes(conn)} == {("wjw", "gaj__open")}
    assert [n for _, n, _ in notes(conn)] == list(range(1, sum(QUERIES.values()) + 1))


def test_a_cursor_and_a_prepared_statement_are_noted_each_time_they_run(conn: Any, login: Login) -> None:
    with login("wjw") as reader:
        reader.execute("PREPARE p AS SELECT * FROM share.gaj__open")
        for _ in range(7):  # the sixth runs on a kept plan
            reader.execute("EXECUTE p")
        assert len(notes(conn)) == 7
        with reader.transaction():
            reader.execute("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM share.gaj__open")
            reader.execute("FETCH 1 FROM c")
    assert len(notes(conn)) == 8


def test_a_read_whose_transaction_is_rolled_back_leaves_a_gap(conn: Any, login: Login) -> None:
    with login("wjw") as reader:
        reader.execute("SELECT * FROM share.gaj__open")
        for end in ("ROLLBACK", "ROLLBACK"):
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM share.gaj__open").fetchone() == (2,)
            reader.execute(end)
        reader.execute("BEGIN")
        reader.execute("SAVEPOINT s")
        reader.execute("SELECT * FROM share.gaj__open")
        reader.execute("ROLLBACK TO s")
        reader.execute("SELECT * FROM share.gaj__open")
        reader.execute("COMMIT")
    with login("mzj") as reader:
        reader.execute("SELECT * FROM share.gaj__open")
    assert notes(conn) == [("wjw", 1, "gaj__open"), ("wjw", 5, "gaj__open"), ("mzj", 1, "gaj__open")]
    assert count_rolled_back(conn) == {"wjw": 3}
    with login("mzj") as reader:  # after the newest note that is kept
        reader.execute("BEGIN; SELECT * FROM share.gaj__asked; ROLLBACK")
    assert count_rolled_back(conn) == {"mzj": 1, "wjw": 3}
    assert "wjw：另有 3 次读取在事务回滚后没有留下视图名" in render_readings(
        list_readings(conn), count_rolled_back(conn)
    )


def test_where_nothing_can_be_noted_nothing_can_be_read(conn: Any, login: Login) -> None:
    with login("wjw") as reader:
        reader.execute("SET default_transaction_read_only = on")
        with pytest.raises(errors.ReadOnlySqlTransaction, match="未读取任何数据"):
            reader.execute("SELECT * FROM share.gaj__open")
    assert (notes(conn), count_rolled_back(conn)) == ([], {})


def test_a_reader_reaches_neither_the_notes_nor_the_counter_nor_what_writes_them(conn: Any, login: Login) -> None:
    done = []
    with login("wjw") as reader:
        reader.execute("SELECT * FROM share.gaj__open")
        for statement in (
            "SELECT * FROM ops.share_read",
            "DELETE FROM ops.share_read",
            "SELECT ops.note_read('gaj__open')",
            "SELECT nextval('ops.share_reads_wjw')",
            "SELECT setval('ops.share_reads_wjw', 1)",
            "ALTER SEQUENCE ops.share_reads_wjw RESTART",
            "CREATE OR REPLACE FUNCTION ops.note_read(view_read text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        ):
            try:
                reader.execute(statement)
                done.append(statement)
            except errors.InsufficientPrivilege:
                pass
        # its own functions and search path are not asked
        reader.execute("CREATE FUNCTION pg_temp.nextval(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT 99::bigint'")
        reader.execute("SET search_path = pg_temp, pg_catalog")
        reader.execute("SELECT * FROM share.gaj__open")
    assert (done, [n for _, n, _ in notes(conn)]) == ([], [1, 2])


def test_a_note_says_who_by_login_and_department_and_holds_no_value(conn: Any, city: Settings, login: Login) -> None:
    with login("mzj") as reader:
        reader.execute("SELECT * FROM share.gaj__asked WHERE id_no = '150602199001011234'")
        reader.execute("SELECT * FROM share.gaj__asked WHERE name = '包**'")
        reader.execute("SELECT * FROM share.gaj__open")
    conn.execute("SELECT * FROM share.gaj__open")  # guiji's own user
    conn.commit()
    found = list_readings(conn)
    name, own = f"{conn.info.dbname}_mzj", conn.info.user
    assert [(r.department_id, r.login, r.view, r.resource_id, r.reads, r.purpose) for r in found] == [
        ("mzj", name, "gaj__asked", "gaj.asked", 2, PURPOSE),
        ("mzj", name, "gaj__open", "gaj.open", 1, None),
        (None, own, "gaj__open", "gaj.open", 1, None),
    ]
    assert [r.view for r in list_readings(conn, resource_id="gaj.asked")] == ["gaj__asked"]
    assert [r.login for r in list_readings(conn, department_id="mzj")] == [name, name]
    last = max(r.last_at for r in found)
    assert (list_readings(conn, since=last + timedelta(seconds=1)), len(list_readings(conn, until=last))) == ([], 2)
    kept = json.dumps(conn.execute("SELECT * FROM ops.share_read").fetchall(), default=str, ensure_ascii=False)
    assert [w for w in ("150602199001011234", "1506**", "包") if w in kept] == []


# --- the audit trail ---------------------------------------------------------------------------------


def test_req53_reads_go_into_the_audit_trail_once_and_old_ones_are_removed(
    conn: Any, city: Settings, login: Login
) -> None:
    with login("wjw") as reader:
        for _ in range(3):
            reader.execute("SELECT * FROM share.gaj__open")
        reader.execute("BEGIN; SELECT * FROM share.gaj__open; ROLLBACK")
    assert (audit_reads(conn, city), audit_reads(conn, city)) == (3, 0)
    entries = conn.execute("SELECT object, detail FROM ops.audit WHERE action = 'share.read'").fetchall()
    assert [
        (e["object"], e["detail"]["rolled_back"], [(r["view"], r["reads"]) for r in e["detail"]["reads"]])
        for e in entries
    ] == [("wjw", 1, [("gaj__open", 3)])]
    assert verify_audit(conn) is None
    conn.execute("UPDATE ops.share_read SET at = %s WHERE read_no < 3", (city.now() - timedelta(days=KEEP_DAYS + 1),))
    assert audit_reads(conn, city) == 0
    assert notes(conn) == [("wjw", 3, "gaj__open")]
    assert count_rolled_back(conn) == {"wjw": 1}


def test_what_a_dropped_view_showed_is_still_known_to_have_been_read(conn: Any, city: Settings, login: Login) -> None:
    with login("mzj") as reader:
        reader.execute("SELECT * FROM share.gaj__asked")
    sync_sharing(conn, city, make_catalog(OPEN))
    assert [(r.view, r.resource_id, r.reads) for r in list_readings(conn)] == [("gaj__asked", None, 1)]


def test_the_command_lists_reads(
    conn: Any, city: Settings, login: Login, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"HOME": city.home, "WAREHOUSE": city.warehouse}.items():
        monkeypatch.setenv(f"GUIJI_{name}", str(value))
    run = CliRunner().invoke
    assert run(app, ["share", "reads"]).output == "没有读取记录。\n"
    with login("mzj") as reader:
        reader.execute("SELECT * FROM share.gaj__asked")
    today = f"{time.strftime('%Y-%m-%d')}"
    for arguments in ([], ["gaj.asked"], ["--department", "mzj", "--since", today, "--until", "2999-12-31"]):
        output = run(app, ["share", "reads", *arguments]).output
        assert {"mzj", "gaj__asked", PURPOSE, f"{conn.info.dbname}_mzj"} <= set(output.split())
    assert run(app, ["share", "reads", "gaj.open"]).output == "没有读取记录。\n"
    assert run(app, ["share", "reads", "--since", "gestern"]).exit_code != 0


# --- what is open ------------------------------------------------------------------------------------


def test_req30_the_open_catalogue_is_what_the_catalog_says_and_nothing_personal_or_secret(tmp_path: Path) -> None:
    fields = [
        {"name": "no", "title": "编号"},
        {"name": "place", "title": "=地址()"},
        {"name": "phone", "title": "电话", "sensitivity": 3},
    ]
    opened = {"opening": {"open": True}, "fields": fields, "key": ["no"]}
    resources = [
        shared("gaj.a", {"type": "无条件共享"}, **opened),
        shared("gaj.b", {"type": "无条件共享"}, **{**opened, "opening": {"open": True, "condition": "注明出处"}}),
        shared("gaj.c", {"type": "无条件共享"}, fields=fields, key=["no"]),
        shared("mzj.d", {"type": "不予共享", "legal_basis": "《保密法》"}, **opened),
        shared("mzj.e", {"type": "无条件共享"}, **{**opened, "fields": [{**fields[0], "sensitivity": 2}]}),
    ]
    catalog = make_catalog(*resources, departments=("gaj", "mzj"))
    items = list_open(catalog)
    assert [(i.resource_id, i.way, i.fields, i.withheld) for i in items] == [
        ("gaj.a", "无条件开放", ("编号", "=地址()"), 1),
        ("gaj.b", "有条件开放", ("编号", "=地址()"), 1),
    ]
    assert count_open(catalog, items) == [("gaj局", 2, ""), ("mzj局", 0, "不足 2 项")]
    write_open(catalog, items, tmp_path / "open.xlsx")
    book = openpyxl.load_workbook(tmp_path / "open.xlsx")
    rows = list(book["开放目录"].iter_rows(min_row=2, values_only=True))
    assert [(r[1], r[4], r[5], r[6], r[7]) for r in rows] == [
        ("gaj.a", "无条件开放", "", "编号、=地址()", 1),
        ("gaj.b", "有条件开放", "注明出处", "编号、=地址()", 1),
    ]
    assert list(book["部门统计"].iter_rows(min_row=2, values_only=True)) == [
        ("gaj局", 2, ""),
        ("mzj局", 0, "不足 2 项"),
    ]
    assert SECRET.id not in {i.resource_id for i in list_open(make_catalog(SECRET))}
