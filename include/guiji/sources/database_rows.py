"""Every database that SQLAlchemy has a driver for, read as text through a server-side cursor.

Text is exact: decimals keep their digits, MySQL's zero dates stay ``0000-00-00`` to be counted (F-25), text of
digits stays text (F-26). MariaDB/MySQL and SQLite are run for real in the tests; others by the connection's
``extra.sqlalchemy_url`` scheme and are not run here.
"""

# ruff: noqa: S608 - identifiers go through the dialect's quoter, values are bound
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from guiji.errors import GuijiError, UsageError
from guiji.sources.database import BatchStream, Reading, local_text, match_columns, render_filter, translate_error
from guiji.sources.frames import text_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Engine
    from sqlalchemy.engine import URL

_DRIVERS = {"mysql": "mysql+pymysql", "mariadb": "mysql+pymysql", "sqlite": "sqlite"}


def read_rows(reading: Reading, *, limit_zero: bool = False) -> tuple[tuple[str, ...], BatchStream]:
    """(source names, batches) of one table; the column set is checked before this returns."""
    stack = contextlib.ExitStack()
    with _translated(reading), stack:
        engine = _make_engine(reading)
        stack.callback(engine.dispose)
        conn = stack.enter_context(contextlib.closing(engine.raw_connection()))
        cursor = stack.enter_context(contextlib.closing(_open_cursor(engine, conn)))
        there = _list_columns(engine, reading)
        match = match_columns(reading, there)
        _begin(engine, reading, cursor)
        quote = engine.dialect.identifier_preparer.quote_identifier
        table = quote(reading.source.table)
        if reading.source.schema_:
            table = f"{quote(reading.source.schema_)}.{table}"
        condition, values = _set_bounds(engine, reading, cursor, there, table)
        names = tuple(c for c in reading.expected.columns if c in match)
        select = ", ".join(quote(match[c]) for c in names)
        if limit_zero:
            condition = " WHERE 1 = 0"
            values = []
        _execute(engine, cursor, f"{reading.comment} SELECT {select} FROM {table}{condition}", values)
        close = stack.pop_all().close
        return names, BatchStream(_stream(reading, cursor, names), close)
    raise AssertionError


@contextlib.contextmanager
def _translated(reading: Reading) -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except GuijiError:
        raise
    except SQLAlchemyError as exc:
        raise translate_error(reading, getattr(exc, "orig", None) or exc) from None
    except Exception as exc:
        if type(exc).__module__.split(".")[0] in (
            "pymysql",
            "sqlite3",
            "oracledb",
            "pymssql",
            "dmPython",
        ) or isinstance(exc, OSError):
            raise translate_error(reading, exc) from None
        raise


def _make_url(reading: Reading) -> URL:
    from sqlalchemy.engine import URL, make_url

    connection = reading.connection
    if "sqlalchemy_url" in connection.extra:
        url = make_url(str(connection.extra["sqlalchemy_url"]))
        return url.set(password=connection.password) if connection.password and not url.password else url
    driver = _DRIVERS.get(connection.conn_type.lower())
    if driver is None:
        raise UsageError(
            f"Connection {connection.conn_id} has type {connection.conn_type!r}, for which no driver is built in. "
            "Nothing was read; install its SQLAlchemy driver and give extra.sqlalchemy_url."
        )
    if driver == "sqlite":
        path = connection.schema or connection.host or ""
        return URL.create("sqlite", database=f"file:{path}?mode=ro", query={"uri": "true"})
    return URL.create(
        driver,
        connection.login,
        connection.password,
        connection.host or "127.0.0.1",
        connection.port,
        connection.schema,
    )


def _make_engine(reading: Reading) -> Engine:
    import sqlalchemy as sa

    url = _make_url(reading)
    arguments: dict[str, Any] = {}
    if url.get_dialect().name == "mysql":
        from pymysql import converters
        from pymysql.constants import FIELD_TYPE

        # encoders only: without decoders every value stays the text that the server sent
        conv = {k: v for k, v in converters.conversions.items() if not isinstance(k, int)}
        assert FIELD_TYPE.DECIMAL not in conv
        arguments = {"conv": conv, "charset": "utf8mb4", "connect_timeout": 15, "read_timeout": reading.timeout_seconds}
        if "ssl_ca" in reading.connection.extra:
            arguments["ssl_ca"] = reading.connection.extra["ssl_ca"]
    return sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args=arguments)


def _open_cursor(engine: Engine, conn: Any) -> Any:
    if engine.dialect.name == "mysql":
        from pymysql.cursors import SSCursor

        return conn.driver_connection.cursor(SSCursor)
    return conn.cursor()


def _begin(engine: Engine, reading: Reading, cursor: Any) -> None:
    """One consistent read-only snapshot with a statement timeout, where the database has them."""
    if engine.dialect.name == "mysql":
        offset = reading.now.astimezone(reading.zone).strftime("%z")
        cursor.execute("SET SESSION time_zone = %s", (f"{offset[:3]}:{offset[3:]}",))
        with contextlib.suppress(Exception):  # MariaDB
            cursor.execute("SET SESSION max_statement_time = %s", (reading.timeout_seconds,))
        with contextlib.suppress(Exception):  # MySQL
            cursor.execute("SET SESSION max_execution_time = %s", (reading.timeout_seconds * 1000,))
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    elif engine.dialect.name == "sqlite":
        cursor.execute("BEGIN")


def _list_columns(engine: Engine, reading: Reading) -> dict[str, str]:
    import sqlalchemy as sa
    from sqlalchemy.exc import NoSuchTableError

    if engine.dialect.name == "mysql":
        return _list_mysql_columns(engine, reading)
    try:
        found = sa.inspect(engine).get_columns(reading.source.table, schema=reading.source.schema_)
    except NoSuchTableError:
        return {}
    return {str(c["name"]): str(c["type"]) for c in found}


def _list_mysql_columns(engine: Engine, reading: Reading) -> dict[str, str]:
    with contextlib.closing(engine.raw_connection()) as conn, contextlib.closing(conn.cursor()) as cursor:
        cursor.execute(
            f"{reading.comment} SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = COALESCE(%s, DATABASE()) AND table_name = %s ORDER BY ordinal_position",
            (reading.source.schema_, reading.source.table),
        )
        return {str(name): str(kind) for name, kind in cursor.fetchall()}


def _execute(engine: Engine, cursor: Any, text: str, values: list[str]) -> None:
    """Runs ``text`` with ``?`` marks in the driver's own parameter style; without values nothing is interpolated."""
    if not values:
        cursor.execute(text)
        return
    style = engine.dialect.paramstyle
    if style in ("format", "pyformat"):
        cursor.execute(text.replace("%", "%%").replace("\x00", "%s"), values)
    elif style == "qmark":
        cursor.execute(text.replace("\x00", "?"), values)
    else:
        parts = text.split("\x00")
        joined = "".join(p + (f":{i + 1}" if i + 1 < len(parts) else "") for i, p in enumerate(parts))
        cursor.execute(joined, values)


def _set_bounds(
    engine: Engine, reading: Reading, cursor: Any, there: dict[str, str], table: str
) -> tuple[str, list[str]]:
    """The WHERE (parameters as NUL marks) and its values; finds the new watermark in the same snapshot."""
    conditions: list[str] = []
    values: list[str] = []
    if filtered := render_filter(reading, there, engine.dialect.name):
        conditions.append(filtered)
    if reading.is_incremental:
        assert reading.source.cursor is not None
        column = engine.dialect.identifier_preparer.quote_identifier(reading.source.cursor)
        timed = any(w in there[reading.source.cursor].lower() for w in ("time", "date"))
        if reading.window is not None and timed:
            conditions.append(f"{column} >= \x00 AND {column} < \x00")
            values += [local_text(m, reading.zone) for m in (reading.window.start, reading.window.end)]
        else:
            at_least, low = _at_least(reading, column, timed)
            _find_watermark(engine, reading, cursor, table, column, [*conditions, *at_least], low, timed)
            conditions += [f"({c} OR {column} IS NULL)" for c in at_least]
            values += low
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _at_least(reading: Reading, column: str, timed: bool) -> tuple[list[str], list[str]]:
    if reading.watermark is None:
        return [], []
    low = reading.watermark
    if timed and reading.source.lag_seconds:
        with contextlib.suppress(ValueError):  # an exotic text can't be moved back; it is then read without lag
            low = (datetime.fromisoformat(low) - timedelta(seconds=reading.source.lag_seconds)).isoformat(sep=" ")
    return [f"{column} >= \x00"], [low]


def _find_watermark(
    engine: Engine,
    reading: Reading,
    cursor: Any,
    table: str,
    column: str,
    conditions: list[str],
    low: list[str],
    timed: bool,
) -> None:
    now = [local_text(reading.now, reading.zone)] if timed else []
    past = f"{column} <= \x00" if timed else "1 = 1"
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    text = (
        f"{reading.comment} SELECT MAX(CASE WHEN {past} THEN {column} END), "
        f"SUM(CASE WHEN {past} OR {column} IS NULL THEN 0 ELSE 1 END) FROM {table}{where}"
    )
    _execute(engine, cursor, text, [*now, *now, *low])
    newest, future = cursor.fetchone()
    cursor.fetchall()
    if newest is not None:
        reading.report.cursor_max = to_text(newest)
    if future and int(future):
        reading.report.notes.append(f"{reading.what}：{future} 行的增量字段晚于采集时间，未推进增量位置")


def _stream(reading: Reading, cursor: Any, names: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    import numpy as np
    import pyarrow as pa

    schema = text_schema(names)
    origin = f"{reading.source.schema_}.{reading.source.table}" if reading.source.schema_ else reading.source.table
    position = 1
    yield pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
    while True:
        with _translated(reading):
            rows = cursor.fetchmany(reading.source.chunk_rows)
        if not rows:
            return
        n = len(rows)
        nothing = pa.nulls(n, pa.string())
        lines = pa.array(np.arange(position, position + n, dtype=np.int64))
        position += n
        columns = [_text_array(values) for values in zip(*rows, strict=True)]
        yield pa.RecordBatch.from_arrays(
            [*columns, pa.repeat(pa.scalar(origin, pa.string()), n), lines, nothing, nothing], schema=schema
        )


def _text_array(values: tuple[Any, ...]) -> pa.Array:
    import pyarrow as pa

    if set(map(type, values)) <= {str, type(None)}:
        return pa.array(values, pa.string())
    return pa.array([None if v is None else to_text(v) for v in values], pa.string())


_TEXTS: dict[type, Callable[[Any], str]] = {
    str: str,
    int: str,
    float: repr,
    bool: lambda v: "true" if v else "false",
    Decimal: lambda v: format(v, "f"),
    datetime: lambda v: v.isoformat(sep=" "),
    date: lambda v: v.isoformat(),
    time: lambda v: v.isoformat(),
}


def to_text(value: Any) -> str:
    """A driver's value as exact text; bytes as hexadecimal digits."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return _TEXTS.get(type(value), str)(value)
