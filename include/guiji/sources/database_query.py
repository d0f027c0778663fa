"""What is asked of one table: which rows, by which bounds, and how its cells come as text."""

# ruff: noqa: S608 - identifiers go through the dialect's quoter, values are bound
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from guiji.sources.cursor_bounds import Bounds, Column, is_number, note_watermark, plan_bounds
from guiji.sources.database import Reading, local_text, render_filter
from guiji.sources.database_session import RowSession, translated
from guiji.sources.database_texts import mark_undecoded, text_array, to_text
from guiji.sources.dialects.base import MARK, Dialect, Statement, TableThere
from guiji.sources.frames import add_system_columns, text_schema
from guiji.sources.session_zone import keep_instants

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class TableQuery:
    """What is read of one table; a whole, or the rows of one range of its chunk key (``database_chunks.Ranges``)."""

    session: RowSession
    there: TableThere
    names: tuple[str, ...]  # source names
    columns: tuple[str, ...]  # of the table, beside them
    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    @property
    def reading(self) -> Reading:
        return self.session.reading

    @property
    def dialect(self) -> Dialect:
        return self.session.dialect

    @property
    def table(self) -> str:
        quote = self.dialect.quote
        name = quote(self.there.name)
        return f"{quote(self.there.schema)}.{name}" if self.there.schema else name

    @property
    def origin(self) -> str:
        source = self.reading.source
        return f"{source.schema_}.{source.table}" if source.schema_ else source.table

    def kind_of(self, column: str) -> str:
        return self.there.columns[column]

    def set_bounds(self) -> None:
        """The WHERE of the read; finds the new watermark in the same snapshot."""
        reading, dialect = self.reading, self.dialect
        if filtered := render_filter(reading, dict(self.there.columns), dialect.grammar):
            self.conditions.append(filtered)
        if not reading.is_incremental:
            return
        assert reading.source.cursor is not None
        kind = self.kind_of(reading.source.cursor)
        column, bound = dialect.quote(reading.source.cursor), dialect.bind(kind)
        if dialect.is_timed(kind):
            bounds = _bound_moment(reading, kind)
        else:
            there = self._look_at_cursor(column, kind)
            bounds = self._bound_other(there, kind)
            if dialect.name == "sqlite" and there.is_number:
                bound = f"CAST({MARK} AS NUMERIC)"  # in a column without a type every text is above every number
        if bounds.high is not None:
            self.conditions.append(f"{column} >= {bound} AND {column} < {bound}")
            self.values += [bounds.low, bounds.high]
            return
        at_least = [] if bounds.low is None else [f"{column} >= {bound}"]
        values = [] if bounds.low is None else [bounds.low]
        absent = dialect.is_absent(column, kind)
        others = absent if bounds.alike is None else f"{absent} OR NOT ({bounds.alike})"
        wanted = [f"({c} OR {others})" for c in at_least]
        if reading.window is None:
            self._find_watermark(column, bound, bounds, [*self.conditions, *wanted], values)
        self.conditions += wanted
        self.values += values

    def _look_at_cursor(self, column: str, kind: str) -> Column:
        dialect = self.dialect
        if dialect.name == "sqlite":  # any value in any column; a text sorts above all numbers
            (found,) = self._fetch_one([f"MAX(CASE WHEN TRIM({column}) <> '' THEN typeof({column}) END)"])
            numbers = found in ("integer", "real")
            return Column(column, None if numbers else f"CAST({column} AS TEXT)", numbers)
        return Column(column, column if dialect.is_text(kind) else None, is_number(kind), dialect.length)

    def _bound_other(self, there: Column, kind: str) -> Bounds:
        """Of a cursor that is a text or a number: what it means, its values say."""

        def fetch(values: Sequence[str], counts: Sequence[str]) -> list[str | None]:
            return self._fetch_one([*(self.dialect.select(value, kind) for value in values), *counts])

        return plan_bounds(self.reading, there, fetch)

    def _fetch_one(self, expressions: Sequence[str]) -> list[str | None]:
        text = f"{self.reading.comment} SELECT {', '.join(expressions)} FROM {self.table}{_where(self.conditions)}"
        (found,) = self.session.fetch((text, ()))
        return [None if value is None else to_text(value) for value in found]

    def _find_watermark(
        self, column: str, bound: str, bounds: Bounds, conditions: list[str], values: list[str]
    ) -> None:
        reading, dialect = self.reading, self.dialect
        assert reading.source.cursor is not None
        kind = self.kind_of(reading.source.cursor)
        past = "1 = 1" if bounds.now is None else f"{column} <= {bound}"
        nows = [] if bounds.now is None else [bounds.now]
        absent = dialect.is_absent(column, kind)
        other = "1 = 0" if bounds.alike is None else f"NOT ({bounds.alike})"
        newest_text = dialect.select(
            f"MAX(CASE WHEN {absent} OR {other} THEN NULL WHEN {past} THEN {column} END)", kind
        )
        text = (
            f"{reading.comment} SELECT {newest_text}, "
            f"SUM(CASE WHEN {absent} OR {other} THEN 0 WHEN {past} THEN 0 ELSE 1 END), "
            f"SUM(CASE WHEN {absent} THEN 0 WHEN {other} THEN 1 ELSE 0 END) FROM {self.table}{_where(conditions)}"
        )
        ((newest, future, strange),) = self.session.fetch((text, (*nows, *nows, *values)))
        note_watermark(reading, None if newest is None else to_text(newest), future, strange, bounds)

    # --- reading --------------------------------------------------------------------------------------

    def _select(self) -> str:
        expressions = (self.dialect.select(self.dialect.quote(c), self.kind_of(c)) for c in self.columns)
        return ", ".join(expressions)

    def select_statement(self, low: str | None = None, high: str | None = None) -> Statement:
        """The statement that reads the keys in (low, high], all of them where both are None."""
        conditions, values = list(self.conditions), list(self.values)
        if low is not None or high is not None:
            condition, more = self._range(low, high)
            conditions.append(condition)
            values += more
        lossy = self.dialect.select_lossy({self.dialect.quote(c): self.kind_of(c) for c in self.columns})
        select = self._select() + (f", {lossy}" if lossy else "")
        return f"{self.reading.comment} SELECT {select} FROM {self.table}{_where(conditions)}", tuple(values)

    def _range(self, low: str | None, high: str | None) -> tuple[str, list[str]]:
        assert self.reading.source.chunk_key is not None
        column = self.dialect.quote(self.reading.source.chunk_key)
        bound = self.dialect.bind(self.kind_of(self.reading.source.chunk_key))
        parts = [f"{column} > {bound}"] * (low is not None) + [f"{column} <= {bound}"] * (high is not None)
        condition = " AND ".join(parts)
        return (condition if high is not None else f"({condition} OR {column} IS NULL)"), [
            v for v in (low, high) if v is not None
        ]

    def find_bound(self, low: str | None, rows: int) -> str | None:
        """Text of the key of the ``rows``-th row above ``low``; None where there are fewer."""
        assert self.reading.source.chunk_key is not None
        key = self.reading.source.chunk_key
        column, kind = self.dialect.quote(key), self.kind_of(key)
        conditions, values = [*self.conditions, f"{column} IS NOT NULL"], list(self.values)
        if low is not None:
            conditions.append(f"{column} > {self.dialect.bind(kind)}")
            values.append(low)
        expression = f"{self.dialect.select(column, kind)} AS guiji_bound"  # ORDER BY means the column, not its text
        text = (
            f"{self.reading.comment} SELECT {expression} FROM {self.table}{_where(conditions)} "
            f"ORDER BY {column}{self.dialect.nth_row(rows)}"
        )
        with translated(self.reading):
            found = self.session.fetch((text, tuple(values)))
        return None if not found or found[0][0] is None else to_text(found[0][0])

    @property
    def layout(self) -> str:
        """Changes whenever finished chunks no longer fit."""
        return repr((self.select_statement(), [self.kind_of(c) for c in self.columns], self.reading.source.chunk_key))

    def read_nothing(self) -> Iterator[pa.RecordBatch]:
        """Runs the query for no row: that it can be run is what a probe asks."""
        text, _ = self.select_statement()
        cursor = self.session.run((f"{text} WHERE 1 = 0", ()))
        cursor.fetchall()
        yield _empty(self.names)

    def read_range(
        self, low: str | None = None, high: str | None = None, position: int = 1
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a range, numbered from ``position``; the first batch is empty and shows the columns."""
        statement = self.select_statement(low, high)
        if self.dialect.name == "mysql":
            from guiji.sources.database_mysql import stream_cells

            cells = stream_cells(self.session, statement, [self.kind_of(c) for c in self.columns], self.names)
        else:
            with translated(self.reading):
                cursor = self.session.run(statement)
            cells = self._stream_cells(cursor)
        instants = [self.dialect.is_instant(self.kind_of(c)) for c in self.columns]
        return self._number(keep_instants(cells, instants, self.reading) if any(instants) else cells, position)

    def _number(
        self, cells: Iterator[tuple[Sequence[pa.Array], pa.Array | None]], position: int
    ) -> Iterator[pa.RecordBatch]:
        import numpy as np
        import pyarrow as pa

        yield _empty(self.names)
        for arrays, broken in cells:
            batch = pa.RecordBatch.from_arrays(list(arrays), names=list(self.names))
            lines = pa.array(np.arange(position, position + batch.num_rows, dtype=np.int64))
            position += batch.num_rows
            yield add_system_columns(batch, self.origin, lines, broken)

    def _stream_cells(self, cursor: Any) -> Iterator[tuple[Sequence[pa.Array], pa.Array | None]]:
        while True:
            with translated(self.reading):
                rows = cursor.fetchmany(self.reading.source.chunk_rows)
            if not rows:
                return
            broken = mark_undecoded(rows) if self.dialect.name == "sqlite" else None
            yield [text_array(values) for values in zip(*rows, strict=True)], broken


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _moment(reading: Reading, moment: datetime, kind: str) -> str:
    """The moment as a text of the column's type: with its offset where the type has one (F-08)."""
    if ("time zone" in kind.lower() and "local" not in kind.lower()) or kind.lower() == "datetimeoffset":
        return moment.astimezone(reading.zone).isoformat(sep=" ", timespec="microseconds")
    return local_text(moment, reading.zone)


def _bound_moment(reading: Reading, kind: str) -> Bounds:
    now = _moment(reading, reading.now, kind)
    if reading.window is not None:
        return Bounds(_moment(reading, reading.window.start, kind), _moment(reading, reading.window.end, kind), now)
    low = reading.watermark
    if low is not None and reading.source.lag_seconds:
        with contextlib.suppress(ValueError):  # an exotic text can't be moved back; it is then read without lag
            low = (datetime.fromisoformat(low) - timedelta(seconds=reading.source.lag_seconds)).isoformat(sep=" ")
    return Bounds(low, None, now)


def _empty(names: Sequence[str]) -> pa.RecordBatch:
    import pyarrow as pa

    schema = text_schema(names)
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
