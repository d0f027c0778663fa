"""达梦 DM8 by dmPython and dmSQLAlchemy. Its dictionary and conversions are Oracle's, its DATE has no time of day."""

# ruff: noqa: S608 - fixed text, values are bound
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guiji.sources.dialects.base import MARK, Dialect, Statement, limit_offset, make_plain_url

if TYPE_CHECKING:
    from guiji.sources.database import Reading

_NUMBERS = {
    "NUMBER", "NUMERIC", "DECIMAL", "DEC", "INTEGER", "INT", "BIGINT", "SMALLINT", "TINYINT", "BYTE", "PLS_INTEGER", "BIT",
}  # fmt: skip


def _connect_arguments(reading: Reading) -> dict[str, Any]:
    return {"login_timeout": 15, "app_name": f"guiji {reading.resource.id}"[:128]}


def _prepare(reading: Reading) -> list[Statement]:
    offset = reading.now.astimezone(reading.zone).strftime("%z")
    return [(f"SET TIME ZONE '{offset[:3]}:{offset[3:]}'", ())]


def _columns_query(reading: Reading) -> Statement:
    return (
        f"{reading.comment} SELECT owner, table_name, column_name, data_type FROM all_tab_columns "
        "WHERE UPPER(owner) = UPPER(COALESCE(\x00, SYS_CONTEXT('USERENV', 'CURRENT_SCHEMA'))) "
        "AND UPPER(table_name) = UPPER(\x00) ORDER BY owner, table_name, column_id",
        (reading.source.schema_, reading.source.table),
    )


def select_text(column: str, kind: str) -> str:
    """DM's own exact text of a column. ``kind`` is ``DATA_TYPE`` of ALL_TAB_COLUMNS."""
    kind = kind.upper()
    base = kind.split("(")[0].strip()
    if base in _NUMBERS:
        return f"CAST({column} AS VARCHAR(64))"
    if base == "DATE":
        return f"TO_CHAR({column}, 'YYYY-MM-DD')"
    if base.startswith(("TIMESTAMP", "DATETIME")):
        zone = "TZH:TZM" if "TIME ZONE" in kind and "LOCAL" not in kind else ""
        return f"TO_CHAR({column}, 'YYYY-MM-DD HH24:MI:SS.FF6{zone}')"
    if base.startswith(("TIME", "INTERVAL")):
        return f"CAST({column} AS VARCHAR(64))"
    return column  # CHAR, VARCHAR, TEXT, CLOB: text; FLOAT, DOUBLE, REAL: a double; BLOB, BINARY, IMAGE: bytes


def _bind(kind: str) -> str:
    kind = kind.upper()
    if kind.startswith(("TIMESTAMP", "DATETIME")) and "TIME ZONE" in kind:
        return f"TO_TIMESTAMP_TZ({MARK}, 'YYYY-MM-DD HH24:MI:SS.FF6TZH:TZM')"
    if kind.startswith(("DATE", "TIMESTAMP")):
        return f"CAST({MARK} AS TIMESTAMP)"
    return MARK


DIALECT = Dialect(
    name="dm",
    title="达梦 DM8",
    grammar="oracle",
    make_url=make_plain_url("dm+dmPython", 5236),
    modules=("dmPython", "dmSQLAlchemy"),
    extra="dameng",
    connect_arguments=_connect_arguments,
    prepare=_prepare,
    begin=lambda reading: [("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", ()), ("SET TRANSACTION READ ONLY", ())],
    columns_query=_columns_query,
    select=select_text,
    bind=_bind,
    timed=frozenset({"date", "datetime", "timestamp"}),
    nth_row=limit_offset,
)
