"""What PostgreSQL and its kin say about one of their tables, over the connection that also reads it.

SQLAlchemy would ask for the server's version first and does not know what openGauss answers. The statements are in
words that PostgreSQL 9.2 knows, of which openGauss is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guiji.sources.database_postgres import begin_snapshot, translated
from guiji.sources.describe import DescribedColumn, TableDescription, refuse_missing
from guiji.sources.dialects.types import propose_type

if TYPE_CHECKING:
    from guiji.sources.database import Reading

_TABLE = (
    "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = $1 AND c.relname = $2"
)
_COLUMNS = (
    "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnum, NOT a.attnotnull, "
    "pg_catalog.col_description(c.oid, a.attnum) FROM pg_catalog.pg_attribute a "
    "JOIN (SELECT c.oid FROM {table}) c ON c.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
)
_KEY = (
    "SELECT array_to_string(k.conkey, ',') FROM pg_catalog.pg_constraint k "
    "JOIN (SELECT c.oid FROM {table}) c ON c.oid = k.conrelid WHERE k.contype = 'p'"
)
_COMMENT = "SELECT pg_catalog.obj_description(c.oid, 'pg_class') FROM {table}"


def describe_postgres(reading: Reading) -> TableDescription:
    """Raises DeliveryRefused where there is no such table, SourceRefused, SourceUnavailable."""
    with translated(reading), begin_snapshot(reading) as cursor:
        columns = _fetch(reading, cursor, _COLUMNS)
        if not columns:
            raise refuse_missing(reading)
        numbers = {int(number): str(name) for name, _, number, _, _ in columns}
        keys = _fetch(reading, cursor, _KEY)
        key = tuple(numbers[int(n)] for n in str(keys[0][0]).split(",")) if keys else ()
        comments = _fetch(reading, cursor, _COMMENT)
    kind = reading.connection.conn_type
    found = tuple(
        DescribedColumn(str(name), str(word).upper(), comment, bool(nullable), propose_type(kind, str(word)))
        for name, word, _, nullable, comment in columns
    )
    return TableDescription(found, key, comments[0][0] if comments else None)


def _fetch(reading: Reading, cursor: Any, query: str) -> list[tuple[Any, ...]]:
    cursor.execute(
        f"{reading.comment} {query.format(table=_TABLE)}", (reading.source.schema_ or "public", reading.source.table)
    )
    found: list[tuple[Any, ...]] = cursor.fetchall()
    return found
