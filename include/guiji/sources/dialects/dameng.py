"""达梦 DM8 by dmPython alone (dmSQLAlchemy 2.0.17 can't be imported beside SQLAlchemy 2.1). Its dictionary and
conversions are Oracle's, its DATE has no time of day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guiji.sources.dialects.base import MARK, Dialect, Statement, limit_offset
from guiji.sources.dialects.dictionary import list_columns

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from guiji.connections import Connection
    from guiji.sources.database import Reading

_NUMBERS = {
    "NUMBER", "NUMERIC", "DECIMAL", "DEC", "INTEGER", "INT", "BIGINT", "SMALLINT", "TINYINT", "BYTE", "PLS_INTEGER", "BIT",
}  # fmt: skip


def _make_url(connection: Connection) -> URL:
    raise AssertionError("dmPython is used without SQLAlchemy")


def _connect(reading: Reading) -> tuple[Any, str]:
    """``schema`` of the connection is the schema that tables are looked for in."""
    import dmPython

    connection = reading.connection
    made = dmPython.connect(
        user=connection.login or "",
        password=connection.password or "",
        server=connection.host or "127.0.0.1",
        port=connection.port or 5236,
        login_timeout=15,
        app_name=f"guiji {reading.resource.id}"[:128],
        **({"schema": connection.schema} if connection.schema else {}),
    )
    return made, "qmark"


def _prepare(reading: Reading) -> list[Statement]:
    offset = reading.now.astimezone(reading.zone).strftime("%z")
    return [(f"SET TIME ZONE '{offset[:3]}:{offset[3:]}'", ())]


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
    make_url=_make_url,
    modules=("dmPython",),
    extra="dameng",
    connect=_connect,
    prepare=_prepare,
    begin=lambda reading: [("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", ()), ("SET TRANSACTION READ ONLY", ())],
    columns_query=list_columns,
    has_dictionary=True,
    select=select_text,
    bind=_bind,
    timed=frozenset({"date", "datetime", "timestamp"}),
    nth_row=limit_offset,
)
