"""PostgreSQL by ADBC: COPY in binary straight into Arrow, a bounded batch at a time, in one REPEATABLE READ snapshot.

Values that make the query different (watermark, window, clock) are set as variables of the transaction by a bound
statement and read with ``current_setting``: COPY takes no parameters, and no value is ever written into SQL text.
"""

# ruff: noqa: S608 - identifiers go through the dialect's quoter, values are bound
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from guiji.errors import GuijiError
from guiji.sources.cursor_bounds import Bounds, Column, is_number, is_text, note_watermark, plan_bounds
from guiji.sources.database import (
    BatchStream,
    Reading,
    local_text,
    match_columns,
    render_filter,
    translate_error,
)
from guiji.sources.database_chunks import read_in_chunks
from guiji.sources.frames import system_fields
from guiji.structure import OUT_OF_RANGE

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.connections import Connection

#: types that ADBC gives exactly; everything else (numeric, char(n), uuid, json …) is read as its text
_EXACT = {
    "boolean", "smallint", "integer", "bigint", "real", "double precision", "text", "character varying", "date",
    "timestamp without time zone", "timestamp with time zone", "bytea",
}  # fmt: skip
#: of databases that only speak its protocol a DATE may have a time of day: their own text says what it holds
_EXACT_ELSEWHERE = _EXACT - {"date"}
_LIBPQ = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "passfile", "target_session_attrs", "gssencmode",
    "channel_binding", "require_auth",
)  # fmt: skip
#: connection types of databases that only speak PostgreSQL's protocol
KIN = ("kingbase", "opengauss", "gaussdb")
_PORTS = {"kingbase": 54321, "gaussdb": 8000}
_BATCH_BYTES = 8 << 20
# 0001-01-01 and 9999-12-31 as days and microseconds since 1970: beyond lie BC dates and infinity
_DAYS = (-719_162, 2_932_896)
_MICROS = (-62_135_596_800_000_000, 253_402_300_799_999_999)


def make_url(connection: Connection, application: str) -> str:
    """A libpq URL of the connection. It holds the password: never log it.

    Nothing is set by ``options``: a pooler (PgBouncer) refuses them, or lets them fall without a word."""
    host = connection.host or "127.0.0.1"
    login = quote(connection.login or "", safe="")
    if connection.password:
        login += ":" + quote(connection.password, safe="")
    parameters = {k: str(connection.extra[k]) for k in _LIBPQ if k in connection.extra}
    parameters |= {"application_name": application[:63], "connect_timeout": "15"}
    parameters |= {"keepalives_idle": "30", "client_encoding": "UTF8"}
    bracketed = f"[{host}]" if ":" in host else host
    database = quote(connection.schema or "", safe="")
    port = connection.port or _PORTS.get(connection.conn_type.lower(), 5432)
    return f"postgresql://{login}@{bracketed}:{port}/{database}?{urlencode(parameters, quote_via=quote)}"


def read_postgres(reading: Reading, *, limit_zero: bool = False) -> tuple[tuple[str, ...], BatchStream]:
    """(source names, batches) of one table; the column set is checked before this returns."""
    stack = contextlib.ExitStack()
    with translated(reading), stack:
        cursor = stack.enter_context(begin_snapshot(reading))
        there = _list_columns(reading, cursor)
        match = match_columns(reading, there)
        condition = _set_bounds(reading, cursor, there)
        names = tuple(c for c in reading.expected.columns if c in match)
        exact = _EXACT_ELSEWHERE if reading.connection.conn_type.lower() in KIN else _EXACT
        select = ", ".join(_select(match[c], there[match[c]], exact) + f" AS {_quote(c)}" for c in names)
        query = _TableQuery(reading, cursor, there, select, condition)
        if limit_zero:
            batches = query.read_nothing()
        else:
            batches = read_in_chunks(reading, query, names) if reading.source.chunk_key else query.read_range()
        close = stack.pop_all().close
        return names, BatchStream(batches, close)
    raise AssertionError


@contextlib.contextmanager
def begin_snapshot(reading: Reading) -> Iterator[Any]:
    """A cursor in one read-only transaction of one snapshot, in which all that is set ends with it: behind a pooler the
    session may be anybody's before and after."""
    import adbc_driver_postgresql.dbapi as adbc

    settings = {
        "statement_timeout": str(reading.timeout_seconds * 1000),
        "synchronize_seqscans": "off",
        "TimeZone": reading.zone.key,
        "DateStyle": "ISO",
        "IntervalStyle": "postgres",
        "extra_float_digits": "3",
        "bytea_output": "hex",
    }
    url = make_url(reading.connection, f"guiji {reading.resource.id}")
    with contextlib.closing(adbc.connect(url)) as connection, contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(f"{reading.comment} SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        calls = ", ".join(f"set_config('{name}', ${i}, true)" for i, name in enumerate(settings, 1))
        cursor.execute(f"{reading.comment} SELECT {calls}", tuple(settings.values()))
        cursor.fetchall()
        yield cursor


@dataclass(frozen=True)
class _TableQuery:
    """What is read of one table; a whole, or the rows of one range of its chunk key (``database_chunks.Ranges``)."""

    reading: Reading
    cursor: Any
    there: dict[str, str]
    select: str
    conditions: tuple[str, ...]

    @property
    def _key(self) -> tuple[str, str]:
        """The chunk key and the type that its bounds have."""
        assert self.reading.source.chunk_key is not None
        return _quote(self.reading.source.chunk_key), _bound_type(self.there[self.reading.source.chunk_key])

    @property
    def layout(self) -> str:
        return repr((self.select, self.conditions, self._key))

    def find_bound(self, low: str | None, rows: int) -> str | None:
        key, kind = self._key
        conditions = [*self.conditions, f"{key} IS NOT NULL"]
        if low is not None:
            _set(self.reading, self.cursor, "above", low)
            conditions.append(f"{key} > current_setting('guiji.above')::{kind}")
        with translated(self.reading):
            self.cursor.execute(  # named, for ORDER BY would else mean the text
                f"{self.reading.comment} SELECT {key}::text AS guiji_bound FROM {_table(self.reading)}"
                f"{_where(conditions)} ORDER BY {key} LIMIT 1 OFFSET {rows - 1:d}"
            )
            found = self.cursor.fetchall()
        return str(found[0][0]) if found else None

    def read_nothing(self) -> Iterator[pa.RecordBatch]:
        """Runs the query for no row: that it can be run is what a probe asks."""
        return self._read(self.conditions, " LIMIT 0", 1)

    def read_range(
        self, low: str | None = None, high: str | None = None, position: int = 1
    ) -> Iterator[pa.RecordBatch]:
        parts = []
        for name, operator, value in (("above", ">", low), ("until", "<=", high)):
            if value is not None:
                key, kind = self._key
                _set(self.reading, self.cursor, name, value)
                parts.append(f"{key} {operator} current_setting('guiji.{name}')::{kind}")
        condition = " AND ".join(parts)
        if parts and high is None:
            condition = f"({condition} OR {self._key[0]} IS NULL)"
        return self._read((*self.conditions, *([condition] if parts else ())), "", position)

    def _read(self, conditions: Sequence[str], limit: str, position: int) -> Iterator[pa.RecordBatch]:
        text = f"{self.reading.comment} SELECT {self.select} FROM {_table(self.reading)}{_where(conditions)}{limit}"
        with translated(self.reading):
            self.cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_BATCH_BYTES)})
            self.cursor.execute(text)
            reader = self.cursor.fetch_record_batch()
        return _stream(self.reading, reader, position)


@contextlib.contextmanager
def translated(reading: Reading) -> Iterator[None]:
    import adbc_driver_manager
    import pyarrow as pa

    try:
        yield
    except GuijiError:
        raise
    except adbc_driver_manager.Error as exc:
        raise translate_error(reading, exc, exc.sqlstate) from None
    except (OSError, pa.ArrowException) as exc:  # what breaks off while batches are fetched
        raise translate_error(reading, exc) from None


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _table(reading: Reading) -> str:
    return f"{_quote(reading.source.schema_ or 'public')}.{_quote(reading.source.table)}"


def _select(column: str, kind: str, exact: Set[str]) -> str:
    return _quote(column) if kind in exact else f"{_quote(column)}::text"


def _bound_type(kind: str) -> str:
    """The type that a bound of this column has: ``character`` and ``bit`` would cut it to the first one."""
    return {"character": "bpchar", "bit": "bit varying"}.get(kind, kind)


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _list_columns(reading: Reading, cursor: Any) -> dict[str, str]:
    """Columns of the table with their types, in order; empty when there is no such table."""
    cursor.execute(  # in words that PostgreSQL 9.2 knows, of which openGauss is made
        f"{reading.comment} SELECT a.attname::text, format_type(a.atttypid, NULL) FROM pg_catalog.pg_attribute a "
        "JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        (reading.source.schema_ or "public", reading.source.table),
    )
    return dict(cursor.fetchall())


def _set_bounds(reading: Reading, cursor: Any, there: dict[str, str]) -> tuple[str, ...]:
    """The conditions of the read; finds the new watermark in the same snapshot."""
    conditions = []
    if filtered := render_filter(reading, there, "postgres"):
        conditions.append(filtered)
    if reading.is_incremental:
        assert reading.source.cursor is not None
        column, kind = _quote(reading.source.cursor), _bound_type(there[reading.source.cursor])
        there_is = Column(column, f"{column}::text" if is_text(kind) else None, is_number(kind))
        timed = kind.startswith("timestamp") or kind == "date"
        bounds = _bound_moment(reading, kind) if timed else _bound_other(reading, cursor, there_is, conditions)
        for name, value in (("low", bounds.low), ("high", bounds.high), ("now", bounds.now)):
            if value is not None:
                _set(reading, cursor, name, value)
        lag = reading.source.lag_seconds if timed and bounds.high is None else 0
        bound = f"current_setting('guiji.low')::{kind}" + (f" - interval '{lag:d} seconds'" if lag else "")
        at_least = f"{column} >= {bound}" if bounds.low is not None else "true"
        absent = f"{column} IS NULL" + (f" OR {there_is.blank}" if is_text(kind) else "")
        other = f"NOT ({bounds.alike})" if bounds.alike is not None else "false"
        wanted = f"({at_least} OR {absent} OR {other})"
        if reading.window is None:
            past = f"{column} <= current_setting('guiji.now')::{kind}" if bounds.now is not None else "true"
            _find_watermark(reading, cursor, [*conditions, wanted], column, (past, absent, other), bounds)
        if bounds.high is not None:
            conditions.append(f"({at_least} AND {column} < current_setting('guiji.high')::{kind})")
        elif bounds.low is not None:
            conditions.append(wanted)
    return tuple(conditions)


def _bound_moment(reading: Reading, kind: str) -> Bounds:
    now = _moment(reading, reading.now, kind)
    if reading.window is None:
        return Bounds(reading.watermark, None, now)
    return Bounds(_moment(reading, reading.window.start, kind), _moment(reading, reading.window.end, kind), now)


def _bound_other(reading: Reading, cursor: Any, column: Column, conditions: Sequence[str]) -> Bounds:
    """Of a cursor that is a text or a number: what it means, its values say."""

    def fetch(values: Sequence[str], counts: Sequence[str]) -> Sequence[str | None]:
        select = ", ".join(f"{one}::text" for one in (*values, *counts))
        cursor.execute(f"{reading.comment} SELECT {select} FROM {_table(reading)}{_where(conditions)}")
        found: Sequence[str | None] = cursor.fetchone()
        return found

    return plan_bounds(reading, column, fetch)


def _find_watermark(
    reading: Reading, cursor: Any, conditions: list[str], column: str, of: tuple[str, str, str], bounds: Bounds
) -> None:
    """``of``: the conditions that a cursor is past, that there is none, that it is written otherwise."""
    past, absent, other = of
    cursor.execute(
        f"{reading.comment} SELECT max(CASE WHEN {absent} OR {other} THEN NULL WHEN {past} THEN {column} END)::text, "
        f"count(CASE WHEN {absent} OR {other} OR {past} THEN NULL ELSE 1 END), "
        f"count(CASE WHEN {absent} THEN NULL WHEN {other} THEN 1 END) "
        f"FROM {_table(reading)} WHERE {' AND '.join(conditions)}"
    )
    newest, future, strange = cursor.fetchone()
    note_watermark(reading, newest, future, strange, bounds)


def _moment(reading: Reading, moment: Any, kind: str) -> str:
    return str(moment.isoformat()) if kind == "timestamp with time zone" else local_text(moment, reading.zone)


def _set(reading: Reading, cursor: Any, name: str, value: str) -> None:
    with translated(reading):
        cursor.execute(f"{reading.comment} SELECT set_config('guiji.' || $1, $2, true)", (name, value))
        cursor.fetchall()


def _stream(reading: Reading, reader: pa.RecordBatchReader, position: int) -> Iterator[pa.RecordBatch]:
    import numpy as np
    import pyarrow as pa

    origin = f"{reading.source.schema_ or 'public'}.{reading.source.table}"
    schema = pa.schema([pa.field(f.name, f.type) for f in reader.schema] + system_fields())
    yield _empty(schema)  # nothing read is a result with the right types
    while True:
        with translated(reading):
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
        n = batch.num_rows
        columns, broken, raw = _set_out_of_range_aside(batch)
        lines = pa.array(np.arange(position, position + n, dtype=np.int64))
        position += n
        yield pa.RecordBatch.from_arrays(
            [*columns, pa.repeat(pa.scalar(origin, pa.string()), n), lines, broken, raw], schema=schema
        )


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def _set_out_of_range_aside(batch: pa.RecordBatch) -> tuple[list[pa.Array], pa.Array, pa.Array]:
    """Sets rows aside whose date is infinite or before Christ: Arrow's value for it is another day."""
    import pyarrow as pa
    import pyarrow.compute as pc

    n = batch.num_rows
    columns = list(batch.columns)
    nothing = pa.nulls(n, pa.string())
    aside = None
    for i, column in enumerate(columns):
        kind = column.type
        if pa.types.is_date32(kind):
            numbers, (low, high) = column.view(pa.int32()), _DAYS
        elif pa.types.is_timestamp(kind):
            numbers, (low, high) = column.view(pa.int64()), _MICROS
        else:
            continue
        bounds = pc.min_max(numbers).as_py()
        if bounds["min"] is None or (bounds["min"] >= low and bounds["max"] <= high):
            continue
        wrong = pc.fill_null(pc.or_(pc.less(numbers, low), pc.greater(numbers, high)), False)
        columns[i] = pc.if_else(wrong, pa.scalar(None, kind), column)
        aside = wrong if aside is None else pc.or_(aside, wrong)
    if aside is None:
        return columns, nothing, nothing
    return columns, pc.if_else(aside, OUT_OF_RANGE, nothing), pc.if_else(aside, "infinity/BC", nothing)
