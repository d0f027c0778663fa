"""Every database but PostgreSQL: one read-only snapshot, the declared columns, every value as the database's own text.

Text is exact: decimals keep their digits, MySQL's zero dates stay ``0000-00-00`` to be counted (F-25), text of
digits stays text (F-26). How databases differ is said in ``dialects``; MySQL's rows have a fast way of their own
(``database_mysql``), all others come through their driver's cursor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from guiji.sources.database import BatchStream, Reading, match_columns
from guiji.sources.database_chunks import read_in_chunks
from guiji.sources.database_query import TableQuery
from guiji.sources.database_session import RowSession, connect, make_engine, translated
from guiji.sources.dialects import get_dialect
from guiji.sources.dialects.base import TableThere

if TYPE_CHECKING:
    from guiji.catalog.models import DatabaseSource


def read_rows(reading: Reading, *, limit_zero: bool = False) -> tuple[tuple[str, ...], BatchStream]:
    """(source names, batches) of one table; the column set is checked before this returns."""
    dialect = get_dialect(reading.connection)
    stack = contextlib.ExitStack()
    with translated(reading), stack:
        session = RowSession(dialect, reading, *connect(dialect, reading))
        stack.callback(session.close)
        dialect.prepare_connection(session.connection, reading)
        for statement in dialect.prepare(reading):
            session.run(statement)
        for statement in dialect.try_prepare(reading):
            with contextlib.suppress(Exception):
                session.run(statement)
        table = _find_table(session)
        match = match_columns(reading, table.columns)
        for statement in dialect.begin(reading):
            session.run(statement)
        names = tuple(c for c in reading.expected.columns if c in match)
        query = TableQuery(session, table, names, tuple(match[c] for c in names))
        if limit_zero:
            batches = query.read_nothing()
        else:
            query.set_bounds()
            batches = read_in_chunks(reading, query, names) if reading.source.chunk_key else query.read_range()
        close = stack.pop_all().close
        return names, BatchStream(batches, close)
    raise AssertionError


def _find_table(session: RowSession) -> TableThere:
    """The table as the database spells it: the declared spelling where it is there, else the only one that differs in
    letter case."""
    reading, dialect = session.reading, session.dialect
    source = reading.source
    if dialect.columns_query is None:
        import sqlalchemy as sa
        from sqlalchemy.exc import NoSuchTableError

        engine = make_engine(reading)
        try:
            listed = sa.inspect(engine).get_columns(source.table, schema=source.schema_)
        except NoSuchTableError:
            listed = []
        finally:
            engine.dispose()
        return TableThere(source.schema_, source.table, {str(c["name"]): str(c["type"]) for c in listed})
    found: dict[tuple[str, str], dict[str, str]] = {}
    for schema, name, column, kind in session.fetch(dialect.columns_query(reading)):
        found.setdefault((str(schema), str(name)), {})[str(column)] = str(kind)
    place = find_table(found, source)
    if place is None:
        return TableThere(source.schema_, source.table, {})
    return TableThere(source.schema_ and place[0], place[1], found[place])


def find_table(places: Iterable[tuple[str, str]], source: DatabaseSource) -> tuple[str, str] | None:
    """(schema, table) in the declared spelling where it is there, else the only one that differs in letter case."""
    exact = [place for place in places if place[1] == source.table and source.schema_ in (None, place[0])]
    chosen = exact or list(places)
    return chosen[0] if len(chosen) == 1 else None
