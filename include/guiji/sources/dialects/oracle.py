"""Oracle 12.1 and later by python-oracledb in thin mode (no client installation).

The server writes numbers, dates and intervals itself: a driver's floats and data frames have returned wrong numbers
(F-24). ``SET TRANSACTION READ ONLY`` is a snapshot over all statements; ORA-01555 breaks it off and is retryable (F-15).
An empty text is NULL in Oracle, and can't be told from it here either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guiji.sources.dialects.base import MARK, Dialect, Statement, offset_fetch
from guiji.sources.dialects.dictionary import list_columns

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from guiji.connections import Connection
    from guiji.sources.database import Reading

_MOMENT = "YYYY-MM-DD HH24:MI:SS"
_NUMBERS = "'NLS_NUMERIC_CHARACTERS=''.,'''"


def _make_url(connection: Connection) -> URL:
    """``extra.service_name`` or ``extra.sid``, else the connection's schema, names the database."""
    from sqlalchemy.engine import URL

    extra = connection.extra
    host, port = connection.host or "127.0.0.1", connection.port or 1521
    if extra.get("sid"):
        return URL.create(
            "oracle+oracledb", connection.login, connection.password, host, port, database=str(extra["sid"])
        )
    service = str(extra.get("service_name") or connection.schema or "")
    return URL.create(
        "oracle+oracledb", connection.login, connection.password, host, port, query={"service_name": service}
    )


def _prepare_connection(connection: Any, reading: Reading) -> None:
    connection.call_timeout = reading.timeout_seconds * 1000  # of each round trip, in milliseconds
    connection.module = "guiji"
    connection.action = reading.resource.id[:32]
    connection.outputtypehandler = _fetch_lobs_whole


def _fetch_lobs_whole(cursor: Any, metadata: Any) -> Any:
    import oracledb

    whole = {
        oracledb.DB_TYPE_CLOB: oracledb.DB_TYPE_LONG,
        oracledb.DB_TYPE_NCLOB: oracledb.DB_TYPE_LONG_NVARCHAR,
        oracledb.DB_TYPE_BLOB: oracledb.DB_TYPE_LONG_RAW,
    }.get(metadata.type_code)
    return None if whole is None else cursor.var(whole, arraysize=cursor.arraysize)


def _prepare(reading: Reading) -> list[Statement]:
    offset = reading.now.astimezone(reading.zone).strftime("%z")
    return [
        (
            f"ALTER SESSION SET TIME_ZONE = '{offset[:3]}:{offset[3:]}' NLS_NUMERIC_CHARACTERS = '.,' "
            f"NLS_CALENDAR = 'GREGORIAN' NLS_SORT = 'BINARY' NLS_COMP = 'BINARY'",
            (),
        )
    ]


def select_text(column: str, kind: str) -> str:
    """Oracle's own exact text of a column. ``kind`` is ``DATA_TYPE`` of ALL_TAB_COLUMNS."""
    kind = kind.upper()
    base = kind.split("(")[0].strip()
    if base in ("NUMBER", "FLOAT"):
        return f"TO_CHAR({column}, 'TM9', {_NUMBERS})"  # up to 40 digits, never an exponent
    if base in ("BINARY_FLOAT", "BINARY_DOUBLE"):
        return f"TO_CHAR({column}, 'TM', {_NUMBERS})"
    if base == "DATE":
        return f"LTRIM(TO_CHAR({column}, 'S{_MOMENT}'))"  # an Oracle DATE has a time; before Christ is negative
    if base == "TIMESTAMP":
        if "LOCAL TIME ZONE" in kind:
            return f"LTRIM(TO_CHAR({column}, 'S{_MOMENT}.FF'))"  # in the session's zone, the resource's
        if "TIME ZONE" in kind:
            return f"LTRIM(TO_CHAR({column}, 'S{_MOMENT}.FFTZH:TZM'))"
        return f"LTRIM(TO_CHAR({column}, 'S{_MOMENT}.FF'))"
    if base.startswith("INTERVAL"):
        return f"TO_CHAR({column})"
    if base in ("ROWID", "UROWID"):
        return f"ROWIDTOCHAR({column})"
    if base == "XMLTYPE":
        return f"XMLSERIALIZE(CONTENT {column} AS CLOB)"
    if base == "SDO_GEOMETRY":
        return f"SDO_UTIL.TO_WKTGEOMETRY({column})"
    return column  # CHAR, VARCHAR2, NCHAR, NVARCHAR2, CLOB, NCLOB, LONG: text; RAW, BLOB: bytes


def _bind(kind: str) -> str:
    kind = kind.upper()
    if kind == "DATE" or (kind.startswith("TIMESTAMP") and "WITH TIME ZONE" not in kind):
        return f"TO_TIMESTAMP({MARK}, '{_MOMENT}.FF')"
    if kind.startswith("TIMESTAMP"):
        return f"TO_TIMESTAMP_TZ({MARK}, '{_MOMENT}.FFTZH:TZM')"
    if kind in ("NUMBER", "FLOAT"):
        return f"TO_NUMBER({MARK})"
    return MARK


DIALECT = Dialect(
    name="oracle",
    title="Oracle",
    grammar="oracle",
    make_url=_make_url,
    modules=("oracledb",),
    extra="oracle",
    prepare_connection=_prepare_connection,
    prepare=_prepare,
    begin=lambda reading: [("SET TRANSACTION READ ONLY", ())],
    columns_query=list_columns,
    has_dictionary=True,
    select=select_text,
    bind=_bind,
    timed=frozenset({"date", "timestamp"}),
    nth_row=offset_fetch,
)
