"""MySQL and MariaDB by PyMySQL: one snapshot, every value the text that the server sends.

What its text would change is asked for otherwise: FLOAT (cut to six digits) as a double and then written with the digits
that a single needs, BIT as a number, a geometry as WKT. Tables in GBK and its kin are converted by the server, which
writes ``?`` for bytes it has no character for: such rows are found by converting back, and set aside.
"""

# ruff: noqa: S608 - fixed text, values are bound
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guiji.sources.dialects.base import MARK, Dialect, Statement, make_plain_url

if TYPE_CHECKING:
    from guiji.sources.database import Reading

LOGIN_SECONDS = 15  # without a byte; a statement may take as long as the department declares
_GEOMETRY = {
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
}  # fmt: skip
_BINARY = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}
#: every text in these has its own characters in Unicode, and comes back as it was
_LOSSLESS = {"utf8", "utf8mb3", "utf8mb4", "ascii", "latin1", "binary", "ucs2", "utf16", "utf16le", "utf32"}


def quote(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _connect_arguments(reading: Reading) -> dict[str, Any]:
    from pymysql import converters

    # encoders only: without decoders every value stays the text that the server sent
    conv = {k: v for k, v in converters.conversions.items() if not isinstance(k, int)}
    arguments = {"conv": conv, "charset": "utf8mb4", "connect_timeout": LOGIN_SECONDS, "read_timeout": LOGIN_SECONDS}
    if "ssl_ca" in reading.connection.extra:
        arguments["ssl_ca"] = reading.connection.extra["ssl_ca"]
    return arguments


def _prepare_connection(connection: Any, reading: Reading) -> None:
    """A statement may take as long as is declared, a login not: a server that stands mute would hold a worker."""
    connection._read_timeout = reading.timeout_seconds


def _prepare(reading: Reading) -> list[Statement]:
    offset = reading.now.astimezone(reading.zone).strftime("%z")
    return [("SET SESSION time_zone = \x00", (f"{offset[:3]}:{offset[3:]}",))]


def _try_prepare(reading: Reading) -> list[Statement]:
    seconds = reading.timeout_seconds
    return [
        ("SET SESSION max_statement_time = \x00", (seconds,)),  # MariaDB
        ("SET SESSION max_execution_time = \x00", (seconds * 1000,)),  # MySQL
    ]


def _begin(reading: Reading) -> list[Statement]:
    return [
        ("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", ()),
        ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", ()),
    ]


def _columns_query(reading: Reading) -> Statement:
    """The type carries the character set of a text: ``varchar/gbk``."""
    return (
        f"{reading.comment} SELECT table_schema, table_name, column_name, "
        "CONCAT(data_type, COALESCE(CONCAT('/', character_set_name), '')) FROM information_schema.columns "
        "WHERE table_schema = COALESCE(\x00, DATABASE()) AND table_name = \x00 ORDER BY ordinal_position",
        (reading.source.schema_, reading.source.table),
    )


def _select(column: str, kind: str) -> str:
    kind = kind.lower()
    if kind in _GEOMETRY:
        return f"ST_AsText({column})"
    if kind == "bit":
        return f"({column} + 0)"
    if kind == "float":
        return f"({column} + 0E0)"
    return column


def _bind(kind: str) -> str:
    """Bytes are written as hexadecimal digits, and bound as what these mean."""
    return f"UNHEX({MARK})" if kind.lower() in _BINARY else MARK


def _select_lossy(columns: Mapping[str, str]) -> str | None:
    doubtful = [
        f"({column} IS NOT NULL AND BINARY CONVERT(CONVERT({column} USING utf8mb4) USING {charset}) <> BINARY {column})"
        for column, (_, _, charset) in ((c, k.lower().partition("/")) for c, k in columns.items())
        if charset.isalnum() and charset not in _LOSSLESS
    ]
    return " OR ".join(doubtful) or None


DIALECT = Dialect(
    name="mysql",
    title="MySQL/MariaDB",
    grammar="mysql",
    make_url=make_plain_url("mysql+pymysql"),
    modules=("pymysql",),
    quote=quote,
    connect_arguments=_connect_arguments,
    prepare_connection=_prepare_connection,
    prepare=_prepare,
    try_prepare=_try_prepare,
    begin=_begin,
    columns_query=_columns_query,
    select=_select,
    bind=_bind,
    select_lossy=_select_lossy,
    has_zero_dates=True,
    length="CHAR_LENGTH",
    is_instant=lambda kind: kind.lower() == "timestamp",
)
