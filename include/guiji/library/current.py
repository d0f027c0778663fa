"""The rows that serve now, as Parquet, for the comparison outside the database.

A snapshot's cache is taken when it is the one the last publish recorded, else it is rebuilt from ``source.*``, which
is the truth. An incremental batch looks up its own keys only, so that its cost doesn't grow with the table.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji import ledger
from guiji.library.difference import GONE, Current, remembers
from guiji.library.distribution import FEWEST, count_serving_values, list_guarded, list_there, value_column
from guiji.library.load import count_rows, read_batches
from guiji.library.tables import columns_sql, match_sql, source_table
from guiji.records import CheckedBatch
from guiji.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg import Connection

    from guiji.catalog.models import FieldSpec, Resource

    Conn = Connection[dict[str, Any]]


def fetch_current(conn: Conn, resource: Resource, settings: Settings, checked: CheckedBatch) -> Current:
    """What serves of the resource, with its hashes, to compare a checked batch with."""
    model = resource.model
    complete = model.load == "snapshot"
    there = conn.execute(
        "/* guiji current */ SELECT to_regclass(%s) IS NOT NULL AS there", (f'source."{model.table}"',)
    ).fetchone()
    if not (there and there["there"]) or _serves_nothing(conn, resource):
        conn.commit()
        return Current(None, 0, complete=True)
    rows = ledger.count_serving(conn, resource.id)
    cache = ledger.find_cache(conn, settings, resource.id) if complete else None
    if cache is not None and not _keeps_values(cache, resource):
        cache = None
    guarded = list_there(conn, resource)
    values = None if complete or checked.rows_accepted < FEWEST else count_serving_values(conn, settings, resource)
    conn.commit()
    if cache is not None:
        return Current(str(cache), rows, complete=True)
    target = Path(checked.directory) / "current.parquet"
    if not complete:
        _look_up(settings, resource, checked, target)
        return Current(str(target), rows, complete=False, values=values)
    _rebuild(settings, resource, target, guarded)
    return Current(str(target), count_rows(str(target)), complete=True)


def _serves_nothing(conn: Conn, resource: Resource) -> bool:
    """Whether there is nothing to compare with."""
    query = sql.SQL("/* guiji {} current */ SELECT 1 FROM {}{} LIMIT 1").format(
        sql.SQL(resource.id),
        source_table(resource),
        sql.SQL("" if remembers(resource.model) else " WHERE _deleted_at IS NULL"),
    )
    return conn.execute(query).fetchone() is None


def _keeps_values(cache: Path, resource: Resource) -> bool:
    """True when the cache holds every field whose distribution is guarded; they may have been declared since."""
    import pyarrow.parquet as pq

    return {value_column(n) for n in list_guarded(resource.model)} <= set(pq.read_schema(cache).names)


def _rebuild(settings: Settings, resource: Resource, target: Path, guarded: Collection[str]) -> None:
    """``guarded``: the guarded fields that the table has; another one is null in every row that serves."""
    import pyarrow as pa

    from guiji.warehouse import read_arrow

    names = list_guarded(resource.model)
    values = [sql.SQL("s.{}::text").format(sql.Identifier(n)) if n in guarded else sql.SQL("NULL::text") for n in names]
    query = sql.SQL("/* guiji {} current */ SELECT {} FROM {} s WHERE _deleted_at IS NULL").format(
        sql.SQL(resource.id), sql.SQL(", ").join([_selected(resource), *values]), source_table(resource)
    )
    with read_arrow(settings, query.as_string(None)) as reader:
        _write(target, resource, reader, {value_column(n): pa.string() for n in names})


def _look_up(settings: Settings, resource: Resource, checked: CheckedBatch, target: Path) -> None:
    """The serving rows of the batch's keys, through a temporary table on a connection of its own."""
    import adbc_driver_postgresql.dbapi as adbc
    import pyarrow as pa

    from guiji.warehouse import warehouse_url

    key = resource.model.key
    specs = _specs(resource, key)
    schema = pa.schema([(f.name, _arrow_type(f)) for f in specs])

    def keys() -> Iterator[pa.RecordBatch]:
        # a rejected row's key goes on serving untouched: the accepted ones are all that can change
        for batch in read_batches(checked.accepted, key):
            yield pa.RecordBatch.from_arrays(
                [c.cast(t) for c, t in zip(batch.columns, schema.types, strict=True)], schema=schema
            )

    with adbc.connect(warehouse_url(settings)) as own, own.cursor() as cursor:
        cursor.execute("SET LOCAL TIME ZONE 'Asia/Shanghai'")
        cursor.execute(
            sql.SQL("/* guiji {} look_up */ CREATE TEMP TABLE guiji_key AS SELECT {} FROM {} LIMIT 0")
            .format(sql.SQL(resource.id), columns_sql(key), source_table(resource))
            .as_string(None)
        )
        cursor.adbc_ingest(
            "guiji_key", pa.RecordBatchReader.from_batches(schema, keys()), mode="append", temporary=True
        )
        cursor.execute("/* guiji look_up */ ANALYZE guiji_key")
        cursor.execute(
            sql.SQL(
                "/* guiji {} look_up */ SELECT {}, s._deleted_at IS NOT NULL AS {gone}"
                " FROM (SELECT DISTINCT * FROM guiji_key) k JOIN {} s ON {}{}"
            )
            .format(
                sql.SQL(resource.id),
                _selected(resource),
                source_table(resource),
                match_sql(key, "k", "s"),
                sql.SQL("" if remembers(resource.model) else " WHERE s._deleted_at IS NULL"),
                gone=sql.Identifier(GONE),
            )
            .as_string(None)
        )
        _write(target, resource, cursor.fetch_record_batch(), {GONE: pa.bool_()})


def _names(resource: Resource) -> list[str]:
    return list(dict.fromkeys((*resource.model.key, *resource.model.order)))


def _specs(resource: Resource, names: list[str]) -> list[FieldSpec]:
    return [resource.model.field(n) for n in names]


def _selected(resource: Resource) -> sql.Composed:
    """Key and order columns and the hash; decimals as text, for ADBC gives them as nothing better."""
    parts = [
        sql.SQL("s.{0}::text AS {0}" if f.type.startswith("decimal") else "s.{0}").format(sql.Identifier(f.name))
        for f in _specs(resource, _names(resource))
    ]
    return sql.SQL(", ").join([*parts, sql.SQL("s._row_hash")])


def _write(target: Path, resource: Resource, reader: pa.RecordBatchReader, more: Mapping[str, pa.DataType]) -> None:
    """Owner-only, by rename; columns typed as the catalog says, and ``more`` of them at the end."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            *((f.name, _arrow_type(f)) for f in _specs(resource, _names(resource))),
            ("_row_hash", pa.int64()),
            *more.items(),
        ]
    )
    temporary = target.with_suffix(".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file, pq.ParquetWriter(file, schema) as writer:
        for batch in reader:
            columns = [c.cast(t) for c, t in zip(batch.columns, schema.types, strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    os.replace(temporary, target)


def _arrow_type(field: FieldSpec) -> pa.DataType:
    import re

    import pyarrow as pa

    if match := re.fullmatch(r"decimal128\((\d+),\s*(\d+)\)", field.type):
        return pa.decimal128(int(match[1]), int(match[2]))
    return {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "date32": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "geometry": pa.binary(),
    }[field.type]
