"""Databases that can't run here: which SQL each would be asked, and how each type comes as exact text.

No server is simulated: what is compared is the text that we would send. It is read again by sqlglot in the database's
own grammar, and names are quoted as SQLAlchemy's dialect of that database quotes them.
"""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from delivering import NOW, OCTOBER, make_resource, open_at, plain_settings
from sqlalchemy.dialects.mssql.base import MSDialect
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.dialects.oracle.base import OracleDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine.default import DefaultDialect

from guiji.catalog.models import DatabaseSource
from guiji.connections import Connection
from guiji.errors import DeliveryRefused, GuijiError, SourceRefused, SourceUnavailable, UsageError
from guiji.records import ReadReport
from guiji.settings import ROOT
from guiji.sources.columns import expected_columns
from guiji.sources.database import POSTGRES, Reading, translate_error
from guiji.sources.database_postgres import make_url
from guiji.sources.database_query import TableQuery
from guiji.sources.database_session import RowSession, write_marks
from guiji.sources.database_texts import to_text
from guiji.sources.dialects import MODULES, get_dialect
from guiji.sources.dialects.base import MARK, Dialect, Statement, TableThere

NAMES = ("mysql", "sqlite", "oracle", "mssql", "dameng")


def dialect_of(name: str) -> Dialect:
    found: Dialect = importlib.import_module(f"guiji.sources.dialects.{name}").DIALECT
    return found


def reading_of(
    conn_type: str = "oracle", *columns: str, extra: Mapping[str, Any] | None = None, **source: Any
) -> Reading:
    more = {k: source.pop(k) for k in ("load", "watermark", "window") if k in source}
    watermark, window = more.pop("watermark", None), more.pop("window", None)
    resource = make_resource(
        {"kind": "database", "connection": "fep", "table": "T_RK", **source}, columns or ("ID", "GXSJ"), **more
    )
    connection = Connection("fep", conn_type, "10.0.0.1", None, "reader", "geheim", "fep", dict(extra or {}))
    assert isinstance(resource.model.source, DatabaseSource)
    return Reading(
        resource, resource.model.source, connection, expected_columns(resource), ReadReport(), NOW, watermark, window
    )


@dataclass
class Recording(RowSession):
    """A session that keeps the statements and answers with what the test gives."""

    answers: list[list[tuple[Any, ...]]] = field(default_factory=list)
    asked: list[Statement] = field(default_factory=list)

    def fetch(self, statement: Statement) -> list[tuple[Any, ...]]:
        self.asked.append(statement)
        return self.answers.pop(0)


def query_of(name: str, reading: Reading, columns: Mapping[str, str], answers: Any = ()) -> TableQuery:
    session = Recording(dialect_of(name), reading, None, "qmark", answers=list(answers))
    names = tuple(c for c in columns if c in reading.expected.columns)
    return TableQuery(session, TableThere(None, "T_RK", columns), names, names)


def asked(query: TableQuery) -> list[Statement]:
    session = query.session
    assert isinstance(session, Recording)
    return session.asked


def parse(name: str, text: str) -> None:
    """Raises where the database's grammar does not allow the text (its comment and marks aside)."""
    sqlglot.parse_one(text.replace(MARK, "'x'"), read=dialect_of(name).grammar)


# --- types --------------------------------------------------------------------------------------------

ORACLE = {
    "NUMBER": "TO_CHAR(c, 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')",
    "FLOAT": "TO_CHAR(c, 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')",
    "BINARY_DOUBLE": "TO_CHAR(c, 'TM', 'NLS_NUMERIC_CHARACTERS=''.,''')",
    "DATE": "LTRIM(TO_CHAR(c, 'SYYYY-MM-DD HH24:MI:SS'))",
    "TIMESTAMP(6)": "LTRIM(TO_CHAR(c, 'SYYYY-MM-DD HH24:MI:SS.FF'))",
    "TIMESTAMP(9)": "LTRIM(TO_CHAR(c, 'SYYYY-MM-DD HH24:MI:SS.FF'))",
    "TIMESTAMP(6) WITH TIME ZONE": "LTRIM(TO_CHAR(c, 'SYYYY-MM-DD HH24:MI:SS.FFTZH:TZM'))",
    "TIMESTAMP(6) WITH LOCAL TIME ZONE": "LTRIM(TO_CHAR(c, 'SYYYY-MM-DD HH24:MI:SS.FF'))",
    "INTERVAL DAY(2) TO SECOND(6)": "TO_CHAR(c)",
    "ROWID": "ROWIDTOCHAR(c)",
    "XMLTYPE": "XMLSERIALIZE(CONTENT c AS CLOB)",
    "SDO_GEOMETRY": "SDO_UTIL.TO_WKTGEOMETRY(c)",
    **dict.fromkeys(["CHAR", "VARCHAR2", "NCHAR", "NVARCHAR2", "CLOB", "NCLOB", "LONG", "RAW", "BLOB"], "c"),
}
MSSQL = {
    "bigint": "CONVERT(varchar(20), c)",
    "bit": "CONVERT(varchar(1), c)",
    "decimal": "CONVERT(varchar(41), c)",
    "money": "CONVERT(varchar(30), c, 2)",
    "smallmoney": "CONVERT(varchar(30), c, 2)",
    "float": "CONVERT(varchar(30), c, 3)",
    "real": "CONVERT(varchar(30), c, 3)",
    "date": "CONVERT(varchar(10), c, 23)",
    "datetime": "CONVERT(varchar(23), c, 121)",
    "smalldatetime": "CONVERT(varchar(19), c, 120)",
    "datetime2": "CONVERT(varchar(27), c, 121)",
    "datetimeoffset": "REPLACE(REPLACE(CONVERT(varchar(34), c, 121), ' +', '+'), ' -', '-')",
    "time": "CONVERT(varchar(16), c, 121)",
    "uniqueidentifier": "CONVERT(varchar(36), c)",
    "timestamp": "CONVERT(varchar(18), CONVERT(binary(8), c), 1)",
    "xml": "CONVERT(nvarchar(max), c)",
    "geometry": "c.STAsText()",
    **dict.fromkeys(["char", "nchar", "varchar", "nvarchar", "text", "ntext", "binary", "varbinary", "image"], "c"),
}
DAMENG = {
    "NUMBER": "CAST(c AS VARCHAR(64))",
    "DECIMAL": "CAST(c AS VARCHAR(64))",
    "BIGINT": "CAST(c AS VARCHAR(64))",
    "DATE": "TO_CHAR(c, 'YYYY-MM-DD')",
    "TIMESTAMP": "TO_CHAR(c, 'YYYY-MM-DD HH24:MI:SS.FF6')",
    "DATETIME": "TO_CHAR(c, 'YYYY-MM-DD HH24:MI:SS.FF6')",
    "TIMESTAMP WITH TIME ZONE": "TO_CHAR(c, 'YYYY-MM-DD HH24:MI:SS.FF6TZH:TZM')",
    "DATETIME WITH TIME ZONE": "TO_CHAR(c, 'YYYY-MM-DD HH24:MI:SS.FF6TZH:TZM')",
    "TIME": "CAST(c AS VARCHAR(64))",
    **dict.fromkeys(["CHAR", "VARCHAR", "VARCHAR2", "TEXT", "CLOB", "DOUBLE", "BLOB", "VARBINARY"], "c"),
}
MYSQL = {
    "float": "(c + 0E0)",
    "bit": "(c + 0)",
    "point": "ST_AsText(c)",
    "geometry": "ST_AsText(c)",
    **dict.fromkeys(
        ["int", "bigint", "decimal", "double", "date", "datetime", "varchar/gbk", "text/utf8mb4", "json"], "c"
    ),
}


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        (name, kind, text)
        for name, table in (("oracle", ORACLE), ("mssql", MSSQL), ("dameng", DAMENG), ("mysql", MYSQL))
        for kind, text in table.items()
    ],
)
def test_f24_each_type_is_written_by_its_server(name: str, kind: str, text: str) -> None:
    dialect = dialect_of(name)
    assert dialect.select("c", kind) == text
    if "STAsText" not in text and "XMLSERIALIZE" not in text:  # not in sqlglot's grammar
        parse(name, f"SELECT {text} FROM t")


@pytest.mark.parametrize(
    ("name", "timed", "untimed"),
    [
        (
            "oracle",
            ("DATE", "TIMESTAMP(6)", "TIMESTAMP(6) WITH TIME ZONE", "TIMESTAMP(3) WITH LOCAL TIME ZONE"),
            ("NUMBER", "VARCHAR2", "INTERVAL DAY(2) TO SECOND(6)"),
        ),
        ("mssql", ("date", "datetime", "datetime2", "datetimeoffset", "smalldatetime"), ("timestamp", "time", "int")),
        ("dameng", ("DATE", "DATETIME(6)", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), ("TIME", "INT")),
        ("mysql", ("date", "datetime", "timestamp"), ("time", "varchar/utf8mb4", "year")),
    ],
)
def test_a_moment_is_told_from_a_row_version(name: str, timed: tuple[str, ...], untimed: tuple[str, ...]) -> None:
    assert [dialect_of(name).is_timed(k) for k in timed] == [True] * len(timed)
    assert [dialect_of(name).is_timed(k) for k in untimed] == [False] * len(untimed)


# --- statements -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hostile", ['x"; DROP TABLE t; --', "a]b", "a`b", "选择", "select", "a b"])
def test_f70_names_are_quoted_as_the_database_does(name: str, hostile: str) -> None:
    of_sqlalchemy: dict[str, type[DefaultDialect]] = {
        "mysql": MySQLDialect, "oracle": OracleDialect, "mssql": MSDialect, "sqlite": SQLiteDialect,
        "dameng": OracleDialect,
    }  # fmt: skip
    preparer = of_sqlalchemy[name]().identifier_preparer
    assert dialect_of(name).quote(hostile) == preparer.quote_identifier(hostile)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "oracle",
            "SELECT TO_CHAR(\"ID\", 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,'''), "
            'LTRIM(TO_CHAR("GXSJ", \'SYYYY-MM-DD HH24:MI:SS\')) FROM "T_RK" WHERE ("ZT" = \'1\')',
        ),
        (
            "mssql",
            "SELECT CONVERT(varchar(41), [ID]), CONVERT(varchar(23), [GXSJ], 121) FROM [T_RK] WHERE ([ZT] = '1')",
        ),
        (
            "dameng",
            'SELECT CAST("ID" AS VARCHAR(64)), TO_CHAR("GXSJ", \'YYYY-MM-DD\') FROM "T_RK" WHERE ("ZT" = \'1\')',
        ),
        ("mysql", "SELECT `ID`, `GXSJ` FROM `T_RK` WHERE (`ZT` = '1')"),
    ],
)
def test_the_statement_names_who_asks_and_only_the_declared_columns(name: str, wanted: str) -> None:
    kinds = {"mssql": ("decimal", "datetime", "char")}.get(name, ("NUMBER", "DATE", "CHAR"))
    reading = reading_of(name, filter="ZT = '1'")
    query = query_of(name, reading, dict(zip(("ID", "GXSJ", "ZT"), kinds, strict=True)))
    query.set_bounds()
    text, values = query.select_statement()
    assert (text, values) == ("/* guiji ab.things stage */ " + wanted, ())
    parse(name, text)


BOUNDS = {
    "oracle": ("DATE", "TO_TIMESTAMP(?, 'YYYY-MM-DD HH24:MI:SS.FF')"),
    "mssql": ("datetime", "CONVERT(datetime2(7), ?, 121)"),
    "dameng": ("TIMESTAMP", "CAST(? AS TIMESTAMP)"),
    "mysql": ("datetime", "?"),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_an_incremental_read_binds_its_moments_by_their_type(name: str) -> None:
    kind, bound = BOUNDS[name]
    reading = reading_of(name, load="incremental", cursor="GXSJ", watermark="2026-10-01 08:00:00.003", lag_seconds=60)
    query = query_of(name, reading, {"ID": "int", "GXSJ": kind}, [[("2026-10-19 08:00:00", 2, 0)]])
    query.set_bounds()
    (find, find_values), (text, values) = asked(query)[0], query.select_statement()
    column = dialect_of(name).quote("GXSJ")
    found = write_marks(text, "qmark")
    zero = f" OR {column} = 0" if name == "mysql" else ""
    assert found.endswith(f"WHERE ({column} >= {bound} OR {column} IS NULL{zero})")
    assert values == ("2026-10-01 07:59:00.003000",)
    assert f"WHEN {column} <= {bound} THEN {column} END" in write_marks(find, "qmark")
    assert find_values == ("2026-10-20 09:00:00", "2026-10-20 09:00:00", "2026-10-01 07:59:00.003000")
    assert reading.report.cursor_max == "2026-10-19 08:00:00"
    assert len(reading.report.notes) == 1
    for statement in (text, find):
        parse(name, statement)


@pytest.mark.parametrize(
    ("name", "kind"), [("oracle", "VARCHAR2"), ("mssql", "nvarchar"), ("dameng", "VARCHAR"), ("mysql", "longtext/gbk")]
)
def test_a_cursor_of_texts_is_surveyed_in_one_statement(name: str, kind: str) -> None:
    reading = reading_of(name, load="incremental", cursor="GXSJ", watermark="2026-10-01 08:00:00")
    newest, oldest = "2026-10-19 08:00:00", "2026-10-01 08:00:00"
    survey = (newest, newest, None, oldest, newest, oldest, 19, 19)
    query = query_of(name, reading, {"ID": "int", "GXSJ": kind}, [[survey], [(newest, 0, 3)]])
    query.set_bounds()
    (text, values), column = query.select_statement(), dialect_of(name).quote("GXSJ")
    trimmed = f"LTRIM(RTRIM({column}))"
    assert write_marks(text, "qmark").endswith(
        f"WHERE ({column} >= ? OR {column} IS NULL OR {trimmed} IS NULL OR {trimmed} = '' "
        f"OR NOT ((RTRIM({column}) LIKE '____-__-__ __:__:__' OR RTRIM({column}) LIKE '____-__-__ __:__:__.%') "
        f"AND RTRIM({column}) NOT LIKE '%/%'))"
    )
    assert (values, reading.report.cursor_max) == (("2026-10-01 08:00:00",), newest)
    assert len(asked(query)) == 2
    for statement, _ in [*asked(query), (text, values)]:
        parse(name, statement)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("oracle", "TIMESTAMP(6) WITH TIME ZONE"), ("mssql", "datetimeoffset"), ("dameng", "TIMESTAMP WITH TIME ZONE")],
)
def test_f08_a_moment_with_a_zone_is_bound_with_its_offset(name: str, kind: str) -> None:
    reading = reading_of(name, load="incremental", cursor="GXSJ", window=OCTOBER)
    query = query_of(name, reading, {"ID": "int", "GXSJ": kind})
    query.set_bounds()
    assert query.select_statement()[1] == ("2026-10-01 00:00:00.000000+08:00", "2026-11-01 00:00:00.000000+08:00")


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("oracle", " OFFSET 499999 ROWS FETCH NEXT 1 ROWS ONLY"),
        ("mssql", " OFFSET 499999 ROWS FETCH NEXT 1 ROWS ONLY"),
        ("dameng", " LIMIT 1 OFFSET 499999"),
        ("mysql", " LIMIT 1 OFFSET 499999"),
    ],
)
def test_f14_the_bound_of_a_range_is_sorted_by_the_column_itself(name: str, after: str) -> None:
    reading = reading_of(name, chunk_key="ID")
    query = query_of(name, reading, {"ID": "NUMBER", "GXSJ": "DATE"}, [[("7",)]])
    assert query.find_bound("5", 500_000) == "7"
    text, values = asked(query)[0]
    key = dialect_of(name).quote("ID")
    assert text.endswith(f"ORDER BY {key}{after}")
    assert " AS guiji_bound FROM " in text
    assert values == ("5",)
    parse(name, text)
    text, values = query.select_statement("5", "7")
    assert re.search(rf"WHERE {re.escape(key)} > .+ AND {re.escape(key)} <= ", text)
    assert values == ("5", "7")


@pytest.mark.parametrize("name", ["oracle", "mssql", "dameng", "mysql"])
def test_f03_f72_the_session_is_one_snapshot_in_the_resources_zone(name: str) -> None:
    dialect, reading = dialect_of(name), reading_of(name)
    prepared = [t for t, _ in dialect.prepare(reading)]
    begun = [t for t, _ in dialect.begin(reading)]
    wanted = {
        "oracle": (["TIME_ZONE = '+08:00'"], ["SET TRANSACTION READ ONLY"]),
        "mssql": (
            ["SET TEXTSIZE 2147483647", "SET LOCK_TIMEOUT 60000"],
            ["SET TRANSACTION ISOLATION LEVEL SNAPSHOT", "BEGIN TRANSACTION"],
        ),
        "dameng": (
            ["SET TIME ZONE '+08:00'"],
            ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET TRANSACTION READ ONLY"],
        ),
        "mysql": (
            ["SET SESSION time_zone"],
            [
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
            ],
        ),
    }
    assert begun == wanted[name][1]
    assert [w for w in wanted[name][0] if not any(w in p for p in prepared)] == []


def test_sql_server_may_be_read_with_locks_instead_and_nothing_weaker() -> None:
    begin = dialect_of("mssql").begin
    assert begin(reading_of("mssql", extra={"isolation": "serializable"}))[0][0].endswith("SERIALIZABLE")
    with pytest.raises(UsageError, match="snapshot and serializable"):
        begin(reading_of("mssql", extra={"isolation": "read uncommitted"}))


@pytest.mark.parametrize(
    ("extra", "url"),
    [
        ({"service_name": "ORCLPDB1"}, "oracle+oracledb://reader:***@10.0.0.1:1521?service_name=ORCLPDB1"),
        ({"sid": "ORCL"}, "oracle+oracledb://reader:***@10.0.0.1:1521/ORCL"),
        ({}, "oracle+oracledb://reader:***@10.0.0.1:1521?service_name=fep"),
    ],
)
def test_where_an_oracle_database_is(extra: dict[str, str], url: str) -> None:
    connection = reading_of("oracle", extra=extra).connection
    assert str(dialect_of("oracle").make_url(connection)) == url


def test_where_a_sql_server_database_is() -> None:
    connection = reading_of("mssql").connection
    assert str(dialect_of("mssql").make_url(connection)) == "mssql+pymssql://reader:***@10.0.0.1:1433/fep"
    assert dialect_of("mssql").connect_arguments(reading_of("mssql"))["timeout"] == 60


# --- drivers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_drivers_extra_exists_and_names_its_module(name: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    dialect = dialect_of(name)
    if dialect.extra:
        listed = [re.split(r"[<>=~]", p)[0].lower() for p in extras[dialect.extra]]
        assert listed == [m.lower() for m in dialect.modules]
    assert {d.extra for d in map(dialect_of, NAMES) if d.extra} == set(extras)


@pytest.mark.parametrize(("conn_type", "extra"), [("oracle", "oracle"), ("mssql", "mssql"), ("dm", "dameng")])
def test_a_missing_driver_names_the_extra(
    conn_type: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("guiji.sources.dialects.find_spec", lambda module: None)
    monkeypatch.setenv("AIRFLOW_CONN_FEP", reading_of(conn_type).connection.to_json())
    with pytest.raises(UsageError, match=rf"\.\[{extra}\]") as caught:
        open_at(
            make_resource({"kind": "database", "connection": "fep", "table": "t"}, ("id",)),
            plain_settings(tmp_path),
            tmp_path,
        )
    assert "geheim" not in str(caught.value)


def test_an_unknown_type_lists_those_that_are_known() -> None:
    connection = Connection("fep", "foxpro", "h")
    with pytest.raises(UsageError, match="foxpro") as caught:
        get_dialect(connection)
    assert [k for k in (*MODULES, *POSTGRES) if k not in str(caught.value) and k != "postgresql"] == []


def test_another_sqlalchemy_driver_may_be_named_by_its_url() -> None:
    named = Connection("fep", "generic", extra={"sqlalchemy_url": "firebird+firebird://h/d"})
    known = Connection("fep", "generic", extra={"sqlalchemy_url": "mysql+pymysql://h/d"})
    assert (get_dialect(named).name, get_dialect(known).name) == ("firebird", "mysql")


class DriverError(Exception):
    """As drivers raise: a number and text, or text alone."""


@pytest.mark.parametrize(
    ("conn_type", "arguments", "kind"),
    [
        ("oracle", ("ORA-01017: invalid credential or not authorized; logon denied",), SourceRefused),
        ("oracle", ("ORA-28000: The account is locked.",), SourceRefused),
        ("oracle", ("ORA-01555: snapshot too old: rollback segment number 9",), SourceUnavailable),
        ("oracle", ("ORA-12170: Cannot connect. TCP connect timeout of 60s",), SourceUnavailable),
        ("oracle", ("ORA-01722: unable to convert string value containing '110105199001010017' to a number",), DeliveryRefused),
        ("mssql", (18456, b"Login failed for user 'reader'."), SourceRefused),
        ("mssql", (20009, b"Unable to connect: Adaptive Server is unavailable or does not exist (10.0.0.1)"), SourceUnavailable),
        ("mssql", (3952, b"Snapshot isolation transaction failed accessing database 'fep'"), SourceUnavailable),
        ("mssql", (245, b"Conversion failed when converting the varchar value '110105199001010017' to data type int."), DeliveryRefused),
        ("dm", ("[CODE:-2501]用户名或密码错误",), SourceRefused),
        ("dm", ("[CODE:-70028]Create SOCKET connection failure",), SourceUnavailable),
        ("mysql", (1045, "Access denied for user 'reader'@'h' (using password: YES)"), SourceRefused),
        ("mysql", (1366, "Incorrect integer value: '110105199001010017' for column"), DeliveryRefused),
    ],
)  # fmt: skip
def test_a_drivers_error_is_ours_without_values(
    conn_type: str, arguments: tuple[Any, ...], kind: type[GuijiError]
) -> None:
    error = translate_error(reading_of(conn_type), DriverError(*arguments))
    assert type(error) is kind
    assert "110105199001010017" not in str(error)


def test_the_docs_list_every_connection_type() -> None:
    text = (ROOT / "docs" / "supply.md").read_text(encoding="utf-8")
    assert [k for k in (*MODULES, *POSTGRES) if f"`{k}`" not in text] == []


@pytest.mark.parametrize(("conn_type", "port"), [("kingbase", 54321), ("opengauss", 5432), ("gaussdb", 8000)])
def test_what_speaks_postgresqls_protocol_has_its_own_port(conn_type: str, port: int) -> None:
    made = make_url(Connection("fep", conn_type, "10.0.0.1", login="reader", password="p@ss", schema="test"), "guiji")
    assert made.startswith(f"postgresql://reader:p%40ss@10.0.0.1:{port}/test?")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("12345678901234567890123456789012345678"), "12345678901234567890123456789012345678"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-10"), "0.0000000001"),
        (10**37, "1" + "0" * 37),
        (0.1, "0.1"),
        (True, "true"),
        (b"\x00\xff", "00ff"),
        (datetime(2026, 10, 1, 8), "2026-10-01 08:00:00"),
    ],
)
def test_f24_what_another_driver_gives_is_written_exactly(value: object, text: str) -> None:
    assert to_text(value) == text
