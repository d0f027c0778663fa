"""SQL Server 2016 and later by pymssql (FreeTDS in the wheel).

A snapshot needs ``ALLOW_SNAPSHOT_ISOLATION`` on the department's database; where its administrator refuses that,
``extra.isolation: serializable`` gives the same consistency with locks. The server writes every value as text: money
without grouping, ``datetimeoffset`` with its offset, floats with all digits (style 3).
"""

# ruff: noqa: S608 - fixed text, values are bound
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guiji.errors import UsageError
from guiji.sources.dialects.base import MARK, Dialect, Statement, make_plain_url, offset_fetch

if TYPE_CHECKING:
    from guiji.sources.database import Reading

_ISOLATION = {"snapshot": "SNAPSHOT", "serializable": "SERIALIZABLE"}


def quote(name: str) -> str:
    return "[" + name.replace("]", "]]") + "]"


def _connect_arguments(reading: Reading) -> dict[str, Any]:
    return {
        "timeout": reading.timeout_seconds,
        "login_timeout": 15,
        "charset": "UTF-8",
        "appname": f"guiji {reading.resource.id}"[:128],
        "autocommit": True,  # the snapshot's transaction is begun by us
    }


def _prepare(reading: Reading) -> list[Statement]:
    return [
        # FreeTDS would cut texts off at 64 KB
        ("SET TEXTSIZE 2147483647", ()),
        ("SET DATEFORMAT ymd", ()),
        (f"SET LOCK_TIMEOUT {reading.timeout_seconds * 1000:d}", ()),
    ]


def _begin(reading: Reading) -> list[Statement]:
    wanted = str(reading.connection.extra.get("isolation", "snapshot")).lower()
    if wanted not in _ISOLATION:
        raise UsageError(
            f"extra.isolation of connection {reading.connection.conn_id} is {wanted!r}; allowed are snapshot and "
            "serializable. Nothing was read; correct it."
        )
    return [(f"SET TRANSACTION ISOLATION LEVEL {_ISOLATION[wanted]}", ()), ("BEGIN TRANSACTION", ())]


def _columns_query(reading: Reading) -> Statement:
    return (
        f"{reading.comment} SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS "
        "WHERE TABLE_SCHEMA = COALESCE(\x00, SCHEMA_NAME()) AND UPPER(TABLE_NAME) = UPPER(\x00) "
        "ORDER BY TABLE_NAME, ORDINAL_POSITION",
        (reading.source.schema_, reading.source.table),
    )


#: type -> its exact text; {} is the column
_TEXTS = {
    "tinyint": "CONVERT(varchar(20), {})",
    "smallint": "CONVERT(varchar(20), {})",
    "int": "CONVERT(varchar(20), {})",
    "bigint": "CONVERT(varchar(20), {})",
    "bit": "CONVERT(varchar(1), {})",
    "decimal": "CONVERT(varchar(41), {})",
    "numeric": "CONVERT(varchar(41), {})",
    "money": "CONVERT(varchar(30), {}, 2)",
    "smallmoney": "CONVERT(varchar(30), {}, 2)",
    "float": "CONVERT(varchar(30), {}, 3)",
    "real": "CONVERT(varchar(30), {}, 3)",
    "date": "CONVERT(varchar(10), {}, 23)",
    "time": "CONVERT(varchar(16), {}, 121)",
    "datetime": "CONVERT(varchar(23), {}, 121)",
    "smalldatetime": "CONVERT(varchar(19), {}, 120)",
    "datetime2": "CONVERT(varchar(27), {}, 121)",
    "datetimeoffset": "REPLACE(REPLACE(CONVERT(varchar(34), {}, 121), ' +', '+'), ' -', '-')",
    "uniqueidentifier": "CONVERT(varchar(36), {})",
    "xml": "CONVERT(nvarchar(max), {})",
    "sql_variant": "CONVERT(nvarchar(4000), {})",
    "geometry": "{}.STAsText()",
    "geography": "{}.STAsText()",
    "hierarchyid": "{}.ToString()",
    # a row version, not a time
    "timestamp": "CONVERT(varchar(18), CONVERT(binary(8), {}), 1)",
    "rowversion": "CONVERT(varchar(18), CONVERT(binary(8), {}), 1)",
}


def select_text(column: str, kind: str) -> str:
    """SQL Server's own exact text of a column. ``kind`` is ``DATA_TYPE`` of INFORMATION_SCHEMA."""
    return _TEXTS.get(kind.lower(), "{}").format(column)  # char, nchar, varchar, text: text; binary, image: bytes


def _bind(kind: str) -> str:
    kind = kind.lower()
    if kind in ("datetime", "smalldatetime", "datetime2"):
        return f"CONVERT(datetime2(7), {MARK}, 121)"  # datetime's own ticks of 3.33 ms would round it (F-04)
    if kind == "datetimeoffset":
        return f"CONVERT(datetimeoffset(7), {MARK}, 121)"
    if kind in ("timestamp", "rowversion"):
        return f"CONVERT(binary(8), {MARK}, 1)"
    if kind == "date":
        return f"CONVERT(datetime2(7), {MARK}, 121)"
    return MARK


DIALECT = Dialect(
    name="mssql",
    title="SQL Server",
    grammar="tsql",
    make_url=make_plain_url("mssql+pymssql", 1433),
    modules=("pymssql",),
    extra="mssql",
    quote=quote,
    connect_arguments=_connect_arguments,
    prepare=_prepare,
    begin=_begin,
    columns_query=_columns_query,
    select=select_text,
    bind=_bind,
    timed=frozenset({"date", "datetime", "datetime2", "smalldatetime", "datetimeoffset"}),
    nth_row=offset_fetch,
    length="LEN",
)
