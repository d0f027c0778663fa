"""Tables of front-end processors, PostgreSQL and MariaDB for real: exact, consistent, gentle, nothing lost at the edge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from delivering import make_resource, open_at, plain_settings, rows_of
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pooler import serve_pooler

from guiji.catalog.models import Resource
from guiji.connections import Connection
from guiji.errors import CatalogError, DeliveryRefused, GuijiError, SourceRefused, SourceUnavailable
from guiji.records import Delivery, Window
from guiji.settings import TIME_ZONE, Settings
from guiji.sources import probe

Fill = Callable[..., None]


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


@pytest.fixture
def pg(fep_postgres: Any, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Runs statements in the department's PostgreSQL, which is connection ``fep``."""
    monkeypatch.setenv("AIRFLOW_CONN_FEP", _plain(fep_postgres))
    return lambda *statements: _run_pg(fep_postgres.admin_url, statements)


def _run_pg(url: str, statements: tuple[Any, ...]) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(*statement) if isinstance(statement, tuple) else conn.execute(statement)


@pytest.fixture
def maria(mariadb_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fill]:
    """Runs statements in the department's MariaDB, which is connection ``fep``."""
    monkeypatch.setenv("AIRFLOW_CONN_FEP", _plain(mariadb_server))
    engine = sa.create_engine(mariadb_server.admin_url)

    def run(*statements: str) -> None:
        with engine.begin() as conn:
            for statement in statements:
                conn.exec_driver_sql(statement)

    yield run
    engine.dispose()


def _plain(server: Any) -> str:
    c = Connection(
        server.conn_id, server.conn_type, server.host, server.port, server.login, server.password, server.schema
    )
    return c.to_json()


def table(*columns: str | dict[str, Any], **source: Any) -> Resource:
    more = {k: source.pop(k) for k in ("load", "contract", "time_zone") if k in source}
    return make_resource({"kind": "database", "connection": "fep", "table": "t", **source}, columns, **more)


def kinds(delivery: Delivery) -> tuple[list[str], list[Any]]:
    batches = list(delivery.batches)
    rows = [tuple(r[c] for c in delivery.columns) for b in batches for r in b.to_pylist()]
    return [str(batches[0].schema.field(c).type) for c in delivery.columns], rows


# --- PostgreSQL: the session ----------------------------------------------------------------------------


@pytest.mark.parametrize("pooled", [False, True])
def test_a_session_is_what_we_ask_for_whatever_the_server_has_set_and_what_stands_before_it(
    fep_postgres: Any, monkeypatch: pytest.MonkeyPatch, place: Settings, tmp_path: Path, pooled: bool
) -> None:
    asked = ("transaction_isolation", "transaction_read_only", "statement_timeout", "TimeZone")
    settings = ", ".join(f"current_setting('{name}') AS \"{name}\"" for name in asked)
    database = fep_postgres.schema
    _run_pg(
        fep_postgres.admin_url,
        (
            f"CREATE VIEW t AS SELECT 1 AS id, {settings}, DATE '2026-02-01' AS d, "
            "daterange('2026-02-01', NULL) AS r, INTERVAL '1 day 02:00' AS i, ARRAY[0.1::float8 + 0.2] AS f",
            *(
                f"ALTER DATABASE {database} SET {setting}"
                for setting in ("datestyle = 'SQL, DMY'", "timezone = 'UTC'", "extra_float_digits = 0")
            ),
            f"ALTER DATABASE {database} SET intervalstyle = 'iso_8601'",
        ),
    )
    with serve_pooler(fep_postgres.host, fep_postgres.port) as port:
        server = replace(fep_postgres, port=port) if pooled else fep_postgres
        monkeypatch.setenv("AIRFLOW_CONN_FEP", _plain(server))
        delivery = open_at(table("id", *asked, "d", "r", "i", "f"), place, tmp_path)
        assert rows_of(delivery) == [
            (
                *(1, "repeatable read", "on", "1min", "Asia/Shanghai", date(2026, 2, 1)),
                *("[2026-02-01,)", "1 day 02:00:00", "{0.30000000000000004}"),
            )
        ]


# --- PostgreSQL: values -------------------------------------------------------------------------------


def test_postgres_values_are_exact_and_types_stay(pg: Fill, place: Settings, tmp_path: Path) -> None:
    pg(
        "CREATE TABLE t (id text, n numeric, c char(4), d date, ts timestamp, tz timestamptz, i bigint, b bool, j jsonb)",
        "INSERT INTO t VALUES ('a', 12345678901234567890.10, 'ab', '2024-02-29', '2024-02-29 01:02:03.123456',"
        " '2024-02-29 01:02:03+08', 9007199254740993, true, '{\"k\": 1}')",
        "INSERT INTO t (id) VALUES ('NULL')",
    )
    types, rows = kinds(open_at(table("id", "n", "c", "d", "ts", "tz", "i", "b", "j"), place, tmp_path))
    assert types == [
        "string", "string", "string", "date32[day]", "timestamp[us]", "timestamp[us, tz=UTC]", "int64", "bool", "string",
    ]  # fmt: skip
    assert rows[0][:5] == (
        "a",
        "12345678901234567890.10",
        "ab",
        date(2024, 2, 29),
        datetime(2024, 2, 29, 1, 2, 3, 123456),
    )
    assert rows[0][5] == datetime(2024, 2, 29, 1, 2, 3, tzinfo=TIME_ZONE)
    assert rows[0][6:] == (9007199254740993, True, '{"k": 1}')
    assert rows[1] == ("NULL", *[None] * 8)


def test_rows_carry_table_and_position(pg: Fill, place: Settings, tmp_path: Path) -> None:
    pg("CREATE TABLE t (id text)", "INSERT INTO t SELECT n::text FROM generate_series(1, 3) n")
    rows = [r for b in open_at(table("id"), place, tmp_path).batches for r in b.to_pylist()]
    assert [(r["_origin"], r["_line"], r["_broken"], r["_raw"]) for r in rows] == [
        ("public.t", n, None, None) for n in (1, 2, 3)
    ]


def test_f31_infinity_is_set_aside_not_another_day(pg: Fill, place: Settings, tmp_path: Path) -> None:
    pg(
        "CREATE TABLE t (id text, d date, ts timestamp)",
        "INSERT INTO t VALUES ('1', 'infinity', now()), ('2', '9999-12-31', '-infinity'),"
        " ('3', '0001-01-01', '9999-12-31 23:59:59.999999'), ('4', '0044-03-15 BC', null)",
    )
    rows = [r for b in open_at(table("id", "d", "ts"), place, tmp_path).batches for r in b.to_pylist()]
    assert [(r["id"], r["_broken"]) for r in rows] == [
        ("1", "structure.out_of_range"), ("2", "structure.out_of_range"), ("3", None), ("4", "structure.out_of_range"),
    ]  # fmt: skip
    assert (rows[0]["d"], rows[1]["d"], rows[1]["ts"], rows[2]["d"]) == (None, date(9999, 12, 31), None, date(1, 1, 1))


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=10), max_size=5))
def test_f27_decimals_come_back_digit_by_digit(pg: Fill, place: Settings, tmp_path: Path, values: list[Any]) -> None:
    pg(
        "DROP TABLE IF EXISTS t",
        "CREATE TABLE t (id int, n numeric)",
        *(("INSERT INTO t VALUES (%s, %s)", (i, v)) for i, v in enumerate(values)),
    )
    _, rows = kinds(open_at(table("id", "n"), place, tmp_path))
    assert [r[1] for r in rows] == [format(v if v else abs(v), "f") for v in values]


@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_table_is_a_result_with_types(pg: Fill, place: Settings, tmp_path: Path, rows: int) -> None:
    pg("CREATE TABLE t (id text, i int)", f"INSERT INTO t SELECT 'a', 1 FROM generate_series(1, {rows})")
    types, found = kinds(open_at(table("id", "i"), place, tmp_path))
    assert (types, found) == (["string", "int32"], [("a", 1)] * rows)


# --- the column set -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pg", "maria"])
def test_f16_columns_are_compared_in_both_directions(
    kind: str, request: pytest.FixtureRequest, place: Settings, tmp_path: Path
) -> None:
    request.getfixturevalue(kind)("CREATE TABLE t (id varchar(9), naem varchar(9), secret varchar(9))")
    with pytest.raises(DeliveryRefused, match="“name”（是否写成了“naem”？）") as caught:
        open_at(table("id", "name"), place, tmp_path)
    assert caught.value.rule_id == "delivery.missing_column"
    with pytest.raises(DeliveryRefused, match="secret") as caught:
        open_at(table("id", "naem"), place, tmp_path)
    assert caught.value.rule_id == "delivery.undeclared_column"
    for contract in ("evolve", "discard"):
        delivery = open_at(table("id", "naem", contract=contract), place, tmp_path)
        assert delivery.columns == ("id", "naem")
        assert len([n for n in delivery.report.notes if "secret" in n]) == 1
        assert rows_of(delivery) == []
    with pytest.raises(DeliveryRefused) as caught:
        open_at(table("id", table="nowhere"), place, tmp_path)
    assert caught.value.rule_id == "delivery.missing_table"


@pytest.mark.parametrize("name", ['x"; DROP TABLE t; --', "x' OR '1'='1", "a b", "选择", "select"])
@pytest.mark.parametrize("kind", ["pg", "maria"])
def test_f70_hostile_names_are_only_names(
    kind: str, request: pytest.FixtureRequest, place: Settings, tmp_path: Path, name: str
) -> None:
    fill = request.getfixturevalue(kind)
    mark = '"' if kind == "pg" else "`"
    quoted = mark + name.replace(mark, mark * 2) + mark
    fill(
        f"CREATE TABLE {quoted} (id varchar(9), {quoted} varchar(9))".replace("%", "%%"),
        f"INSERT INTO {quoted} VALUES ('1', 'a')",
    )
    assert rows_of(open_at(table("id", name, table=name), place, tmp_path)) == [("1", "a")]


@pytest.mark.parametrize("text", ["id = '1'; DROP TABLE t", "pg_sleep(10) IS NULL", "id = (SELECT 1)", "id = '1' -- x"])
def test_f70_a_filter_is_an_expression_or_refused(pg: Fill, place: Settings, tmp_path: Path, text: str) -> None:
    pg("CREATE TABLE t (id text)", "INSERT INTO t VALUES ('1'), ('2')")
    with pytest.raises(CatalogError):
        open_at(table("id", filter=text), place, tmp_path)
    assert rows_of(open_at(table("id", filter="id = '1'"), place, tmp_path)) == [("1",)]


# --- incremental --------------------------------------------------------------------------------------


def changes(**more: Any) -> Resource:
    return table("id", "ts", load="incremental", cursor="ts", **more)


def ids(delivery: Delivery) -> list[str]:
    return sorted(r[0] for r in rows_of(delivery))


CREATE = {
    "pg": "CREATE TABLE t (id varchar(9), ts timestamp)",
    "maria": "CREATE TABLE t (id varchar(9), ts datetime(6))",
}


@pytest.fixture(params=["pg", "maria"])
def changing(request: pytest.FixtureRequest) -> Fill:
    """A department's table with a cursor, in either database."""
    fill: Fill = request.getfixturevalue(request.param)
    fill(CREATE[request.param])
    return fill


def test_f02_f04_rows_at_the_watermark_are_read_again(changing: Fill, place: Settings, tmp_path: Path) -> None:
    changing("INSERT INTO t VALUES ('1', '2026-10-01 08:00:00.000001'), ('2', '2026-10-01 08:00:00.123456')")
    first = open_at(changes(), place, tmp_path)
    assert (ids(first), first.report.cursor_max) == (["1", "2"], "2026-10-01 08:00:00.123456")
    changing("INSERT INTO t VALUES ('3', '2026-10-01 08:00:00.123456'), ('4', '2026-10-01 08:00:00.123457')")
    second = open_at(changes(), place, tmp_path, watermark=first.report.cursor_max)
    assert (ids(second), second.report.cursor_max) == (["2", "3", "4"], "2026-10-01 08:00:00.123457")
    third = open_at(changes(), place, tmp_path, watermark=second.report.cursor_max)
    assert (ids(third), third.report.cursor_max) == (["4"], "2026-10-01 08:00:00.123457")


def test_f05_the_lag_reads_back(changing: Fill, place: Settings, tmp_path: Path) -> None:
    changing(
        "INSERT INTO t VALUES ('a', '2026-10-01 07:59:01'), ('b', '2026-10-01 07:58:59'), ('c', '2026-10-01 08:00:00')"
    )
    assert ids(open_at(changes(lag_seconds=60), place, tmp_path, watermark="2026-10-01 08:00:00")) == ["a", "c"]


def test_f06_rows_without_a_cursor_are_read_each_time(changing: Fill, place: Settings, tmp_path: Path) -> None:
    changing("INSERT INTO t VALUES ('1', '2026-10-01 08:00:00'), ('2', NULL)")
    assert ids(open_at(changes(), place, tmp_path)) == ["1", "2"]
    assert ids(open_at(changes(), place, tmp_path, watermark="2026-10-02 00:00:00")) == ["2"]


def test_f07_a_cursor_in_the_future_does_not_freeze_the_resource(
    changing: Fill, place: Settings, tmp_path: Path
) -> None:
    changing("INSERT INTO t VALUES ('1', '2026-10-01 08:00:00'), ('2', '2099-01-01 00:00:00')")
    first = open_at(changes(), place, tmp_path)
    assert ids(first) == ["1", "2"]
    assert (first.report.cursor_max or "").removesuffix(".000000") == "2026-10-01 08:00:00"
    assert len([n for n in first.report.notes if "1 行" in n]) == 1
    changing("INSERT INTO t VALUES ('3', '2026-10-02 08:00:00')")
    assert ids(open_at(changes(), place, tmp_path, watermark=first.report.cursor_max)) == ["1", "2", "3"]


def test_nothing_new_keeps_the_watermark(changing: Fill, place: Settings, tmp_path: Path) -> None:
    delivery = open_at(changes(), place, tmp_path, watermark="2026-10-01 00:00:00")
    assert (ids(delivery), delivery.report.cursor_max) == ([], "2026-10-01 00:00:00")


def test_a_backfill_reads_its_window_only(changing: Fill, place: Settings, tmp_path: Path) -> None:
    changing(
        "INSERT INTO t VALUES ('before', '2026-09-30 23:59:59.999999'), ('first', '2026-10-01 00:00:00'),"
        " ('last', '2026-10-31 23:59:59.999999'), ('after', '2026-11-01 00:00:00')"
    )
    assert ids(open_at(changes(), place, tmp_path, explicit=True)) == ["first", "last"]


def test_f03_watermark_and_rows_are_of_one_snapshot(
    pg: Fill, fep_postgres: Any, place: Settings, tmp_path: Path
) -> None:
    pg(CREATE["pg"], "INSERT INTO t VALUES ('1', '2026-10-01 08:00:00')")
    with psycopg.connect(fep_postgres.admin_url) as writer:
        writer.execute("INSERT INTO t VALUES ('late', '2026-10-01 08:00:00')")
        first = open_at(changes(), place, tmp_path)
        writer.commit()
        assert ids(first) == ["1"]
    assert ids(open_at(changes(), place, tmp_path, watermark=first.report.cursor_max)) == ["1", "late"]


@pytest.fixture(params=["UTC", "Asia/Shanghai", "America/Los_Angeles"])
def machine_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine's own time zone, for C libraries too."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


@pytest.mark.parametrize("kind", ["pg", "maria"])
def test_f08_the_machine_zone_changes_nothing(
    kind: str, machine_zone: str, request: pytest.FixtureRequest, place: Settings, tmp_path: Path
) -> None:
    fill = request.getfixturevalue(kind)
    fill(
        "CREATE TABLE t (id varchar(9), ts timestamptz)"
        if kind == "pg"
        else "CREATE TABLE t (id int, ts timestamp NULL)",
        "SET TIME ZONE 'Asia/Shanghai'" if kind == "pg" else "SET SESSION time_zone = '+08:00'",
        "INSERT INTO t VALUES ('1', '2026-10-01 00:30:00'), ('2', '2026-09-30 23:30:00')",
        "SET TIME ZONE 'UTC'" if kind == "pg" else "SET SESSION time_zone = '+00:00'",
        "INSERT INTO t VALUES ('3', '2026-09-30 16:00:00'), ('4', '2026-09-30 15:59:59')",
    )
    day = Window(datetime(2026, 10, 1, tzinfo=TIME_ZONE), datetime(2026, 10, 2, tzinfo=TIME_ZONE))
    delivery = open_at(changes(), place, tmp_path)
    assert ids(delivery) == ["1", "2", "3", "4"]
    assert delivery.report.cursor_max == "2026-10-01 00:30:00" + ("+08" if kind == "pg" else "")
    assert ids(open_at(changes(), place, tmp_path, watermark=delivery.report.cursor_max)) == ["1"]
    assert ids(open_at(changes(), place, tmp_path, window=day, explicit=True)) == ["1", "3"]


@pytest.mark.parametrize("kind", ["integer", "text", "date", "timestamptz"])
def test_f04_cursors_of_any_type(pg: Fill, place: Settings, tmp_path: Path, kind: str) -> None:
    values = {"integer": "17", "text": "v17", "date": "2026-10-01", "timestamptz": "2026-10-01 08:00:00.000001+08"}
    pg(f"CREATE TABLE t (id text, ts {kind})", ("INSERT INTO t VALUES ('1', %s)", (values[kind],)))
    first = open_at(changes(), place, tmp_path)
    assert (ids(first), first.report.cursor_max) == (["1"], values[kind])
    assert ids(open_at(changes(), place, tmp_path, watermark=first.report.cursor_max)) == ["1"]


# --- MariaDB and SQLite: values -----------------------------------------------------------------------


def test_f25_f26_mariadb_values_are_the_text_the_server_sent(maria: Fill, place: Settings, tmp_path: Path) -> None:
    maria(
        "SET SESSION sql_mode = ''",
        "CREATE TABLE t (id varchar(20), d date, dt datetime, n decimal(30,10), digits text, b bigint unsigned, f double)",
        "INSERT INTO t VALUES ('1', '0000-00-00', '2022-11-00 20:59:22', 12345678901234567890.0123456789, '000123',"
        " 18446744073709551615, 0.1), ('2', NULL, NULL, NULL, '', 0, NULL)",
    )
    types, rows = kinds(open_at(table("id", "d", "dt", "n", "digits", "b", "f"), place, tmp_path))
    assert types == ["string"] * 7
    assert rows == [
        (
            "1",
            "0000-00-00",
            "2022-11-00 20:59:22",
            "12345678901234567890.0123456789",
            "000123",
            "18446744073709551615",
            "0.1",
        ),
        ("2", None, None, None, "", "0", None),
    ]


@pytest.mark.parametrize("rows", [0, 1, 4, 5])
def test_mariadb_chunks(maria: Fill, place: Settings, tmp_path: Path, rows: int) -> None:
    maria("CREATE TABLE t (id int)", *(f"INSERT INTO t VALUES ({i})" for i in range(rows)))
    delivery = open_at(table("id", chunk_rows=2), place, tmp_path)
    batches = list(delivery.batches)
    assert [b.num_rows for b in batches] == [0, *[2] * (rows // 2), *[1] * (rows % 2)]
    assert [r["_line"] for b in batches for r in b.to_pylist()] == list(range(1, rows + 1))


def test_sqlite_is_read_as_text_and_only_read(place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fep.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as conn:
        conn.exec_driver_sql("CREATE TABLE t (id TEXT, n NUMERIC, x)")
        conn.exec_driver_sql("INSERT INTO t VALUES ('0001', 9007199254740993, 0.1), ('张三', NULL, '')")
    engine.dispose()
    monkeypatch.setenv("AIRFLOW_CONN_FEP", Connection("fep", "sqlite", schema=str(path)).to_json())
    assert rows_of(open_at(table("id", "n", "x"), place, tmp_path)) == [
        ("0001", "9007199254740993", "0.1"),
        ("张三", None, ""),
    ]


# --- a source that fails ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pg", "maria"])
def test_wrong_password_is_refused_and_not_shown(
    kind: str, request: pytest.FixtureRequest, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request.getfixturevalue(kind)("CREATE TABLE t (id varchar(9))")
    server = request.getfixturevalue("fep_postgres" if kind == "pg" else "mariadb_server")
    wrong = Connection("fep", server.conn_type, server.host, server.port, server.login, "falsch-geheim", server.schema)
    monkeypatch.setenv("AIRFLOW_CONN_FEP", wrong.to_json())
    with pytest.raises(SourceRefused, match="connection fep") as caught:
        open_at(table("id"), place, tmp_path)
    assert "falsch-geheim" not in _whole_text(caught.value)


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_unreachable_is_unavailable(
    kind: str, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FEP", Connection("fep", kind, "127.0.0.1", 1, "u", "geheim-wort", "d").to_json())
    with pytest.raises(SourceUnavailable, match="Connection fep") as caught:
        open_at(table("id"), place, tmp_path)
    assert "geheim-wort" not in _whole_text(caught.value)
    with pytest.raises(SourceUnavailable):
        probe(table("id"), place)


def _whole_text(error: GuijiError) -> str:
    return f"{error!r} {error} {error.context} {error.__cause__!r}"


def test_no_grant_is_refused(pg: Fill, fep_postgres: Any, place: Settings, tmp_path: Path) -> None:
    pg("CREATE TABLE t (id text)", f'REVOKE pg_read_all_data FROM "{fep_postgres.login}"')
    with pytest.raises(SourceRefused, match="grants"):
        open_at(table("id"), place, tmp_path)


def test_f15_a_cancelled_query_is_unavailable(pg: Fill, fep_postgres: Any, place: Settings, tmp_path: Path) -> None:
    pg("CREATE TABLE t (id text)", "INSERT INTO t SELECT repeat(n::text, 200) FROM generate_series(1, 200000) n")
    delivery = open_at(table("id"), place, tmp_path)
    next(delivery.batches)
    pg(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{fep_postgres.login}'")
    with pytest.raises(SourceUnavailable):
        list(delivery.batches)


def test_f72_the_session_is_read_only_timed_and_says_who_asks(
    pg: Fill, fep_postgres: Any, place: Settings, tmp_path: Path
) -> None:
    pg("CREATE TABLE t (id text)", "INSERT INTO t SELECT repeat(n::text, 200) FROM generate_series(1, 200000) n")
    delivery = open_at(table("id"), place, tmp_path)
    next(delivery.batches)
    with psycopg.connect(fep_postgres.admin_url) as dba:
        seen = dba.execute(
            "SELECT application_name, query FROM pg_stat_activity WHERE usename = %s", (fep_postgres.login,)
        ).fetchall()
    assert [name for name, _ in seen] == ["guiji ab.things"]
    assert "/* guiji ab.things stage */" in seen[0][1]
    delivery.batches.close()  # type: ignore[attr-defined]


def test_f72_a_slow_table_is_given_up(pg: Fill, place: Settings, tmp_path: Path) -> None:
    pg("CREATE VIEW t AS SELECT n::text AS id FROM generate_series(1, 100000000) n ORDER BY md5(n::text)")
    resource = table("id")
    hurried = resource.model_copy(
        update={"department": resource.department.model_copy(update={"statement_timeout_seconds": 1})}
    )
    with pytest.raises(SourceUnavailable, match="timeout"):
        list(open_at(hurried, place, tmp_path).batches)


def test_the_connection_is_closed_when_everything_was_read(
    pg: Fill, fep_postgres: Any, place: Settings, tmp_path: Path
) -> None:
    pg("CREATE TABLE t (id text)")
    list(open_at(table("id"), place, tmp_path).batches)
    probe(table("id"), place)
    with psycopg.connect(fep_postgres.admin_url) as dba:
        count = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
        row = dba.execute(count, (fep_postgres.login,)).fetchone()
    assert row == (0,)
