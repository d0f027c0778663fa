"""What publish writes beside the data: rejected rows, findings, and the library keys that became dirty."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.errors import AccountingError
from guiji.library.load import copy_batches, read_batches
from guiji.library.tables import SUSPECT, columns_sql, source_table
from guiji.records import CheckedBatch
from guiji.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg import Connection

    from guiji.catalog.models import Resource

    Conn = Connection[dict[str, Any]]


def loaded_columns(resource: Resource) -> list[str]:
    """Columns of ``Difference.changes`` that go into the source table as they are."""
    return [*(f.name for f in resource.model.fields), "_row_hash", "_origin", "_line", SUSPECT]


def copied_columns(resource: Resource, path: str) -> list[str]:
    """Those of ``loaded_columns`` that the Parquet holds: a package checked by an older guiji knows no doubts."""
    import pyarrow.parquet as pq

    from guiji.library.load import list_parquet

    there = {name for file in list_parquet(path)[:1] for name in pq.read_schema(file).names}
    return [c for c in loaded_columns(resource) if c in there or c != SUSPECT]


def make_change_tables(conn: Conn, resource: Resource) -> None:
    """Empty temporary tables of this transaction, typed as the source table: changes, deleted keys, old versions."""
    table = source_table(resource)
    for name, columns in (
        ("guiji_change", sql.SQL("{}, NULL::text AS _op").format(columns_sql(loaded_columns(resource)))),
        ("guiji_deleted", columns_sql(resource.model.key)),
        ("guiji_old", sql.SQL("*")),
        ("guiji_doubted", sql.SQL("*")),
    ):
        conn.execute(
            sql.SQL("/* guiji {} temp */ CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
                sql.SQL(resource.id), sql.Identifier(name), columns, table
            )
        )


def keep_rejected(conn: Conn, settings: Settings, resource: Resource, checked: CheckedBatch) -> None:
    """Writes every rejected row whole and encrypted, with a keyed hash of its key instead of the key.

    What an earlier verdict on the same batch kept is replaced: a held batch can be judged again under other rules, a
    refused one can be delivered again.
    """
    import pyarrow as pa

    from guiji.secrets import make_hasher, seal

    hash_key = make_hasher(settings)

    def batches() -> Iterator[pa.RecordBatch]:
        columns = ("_row_no", "_origin", "_line", "_rules", "_key", "_raw")
        for batch in read_batches(checked.rejected, columns):
            row_no, origin, line, rules, key, raw = (c.to_pylist() for c in batch.columns)
            yield pa.RecordBatch.from_pydict(
                {
                    "batch_id": [checked.batch_id] * len(row_no),
                    "row_no": row_no,
                    "resource_id": [resource.id] * len(row_no),
                    "locator": [f"{o}:{n}" for o, n in zip(origin, line, strict=True)],
                    "rules": [_array(r or []) for r in rules],
                    "key_hmac": [None if k is None else hash_key(k) for k in key],
                    "sealed": ["\\x" + seal(settings, (r or "").encode()).hex() for r in raw],
                }
            )

    conn.execute("/* guiji rejected */ DELETE FROM ops.rejected_row WHERE batch_id = %s", (checked.batch_id,))
    names = ("batch_id", "row_no", "resource_id", "locator", "rules", "key_hmac", "sealed")
    kept = copy_batches(conn, sql.Identifier("ops", "rejected_row"), names, batches(), who=f"{resource.id} rejected")
    if kept != checked.rows_rejected:
        raise AccountingError(
            f"Batch {checked.batch_id} of {resource.id} rejected {checked.rows_rejected} rows, but {kept} were kept. "
            "Nothing was published; run the resource again.",
            batch_id=checked.batch_id,
        )


def keep_findings(conn: Conn, resource: Resource, checked: CheckedBatch) -> None:
    """Writes one row per failed, suspicious or mended value, with its locator and masked value; replaces those of an
    earlier verdict on the same batch."""
    import pyarrow as pa
    import pyarrow.compute as pc

    indicators = {r.rule_id: r.indicator for r in checked.rules}
    ids = pa.array(list(indicators) or [""], pa.string())
    codes = pa.array(list(indicators.values()) or [""], pa.string())

    def batches() -> Iterator[pa.RecordBatch]:
        columns = ("_row_no", "_origin", "_line", "rule_id", "verdict", "value_masked")
        for batch in read_batches(checked.findings, columns):
            origin, line = (pc.cast(batch.column(i), pa.string()) for i in (1, 2))
            rule = pc.cast(batch.column(3), pa.string())
            n = batch.num_rows
            yield pa.RecordBatch.from_arrays(
                [
                    pa.repeat(checked.batch_id, n),
                    pa.repeat(resource.id, n),
                    pc.binary_join_element_wise(pc.fill_null(origin, ""), pc.fill_null(line, ""), ":"),
                    batch.column(0),
                    rule,
                    pc.fill_null(pc.take(codes, pc.index_in(rule, value_set=ids)), "0104"),
                    batch.column(4),
                    batch.column(5),
                ],
                names=list(names),
            )

    conn.execute("/* guiji findings */ DELETE FROM ops.finding WHERE batch_id = %s", (checked.batch_id,))
    names = ("batch_id", "resource_id", "locator", "row_no", "rule_id", "indicator", "verdict", "value_masked")
    copy_batches(conn, sql.Identifier("ops", "finding"), names, batches(), who=f"{resource.id} findings")


def mark_dirty(conn: Conn, resource: Resource, batch_id: str, now: datetime, *, mark_all: bool) -> None:
    """Notes which library keys must be resolved again: the new versions' keys and those of the versions they replace.

    ``mark_all``: one marker stands for all keys of the resource; the replaced versions' keys are noted all the same,
    for they may be in no row any more.
    """
    for library in sorted({m.library for m in resource.model.mappings}):
        if mark_all:
            conn.execute(
                "/* guiji publish dirty */ INSERT INTO ops.dirty_library (library, resource_id, batch_id, marked_at)"
                " VALUES (%s, %s, %s, %s)",
                (library, resource.id, batch_id, now),
            )
    for mapping in resource.model.mappings:
        sources = ["guiji_old", "guiji_doubted"] if mark_all else ["guiji_old", "guiji_change", "guiji_doubted"]
        # a row without the key itself is marked by the secondary key: resolving knows which key that is
        for link, fields in ((None, mapping.key), *mapping.by.items()):
            for source in sources if fields else ():
                conn.execute(
                    sql.SQL(
                        "/* guiji {} dirty */ INSERT INTO ops.dirty_key (library, key, link, batch_id, marked_at)"
                        " SELECT DISTINCT {}, ARRAY[{}], {}, {}, {}::timestamptz FROM {} WHERE {}"
                    ).format(
                        sql.SQL(resource.id),
                        sql.Literal(mapping.library),
                        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(k)) for k in fields),
                        sql.SQL("{}::text").format(sql.Literal(link)),
                        sql.Literal(batch_id),
                        sql.Literal(now),
                        sql.Identifier(source),
                        sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier(k)) for k in fields),
                    )
                )


def _array(values: list[str]) -> str:
    """A PostgreSQL array literal of texts."""
    quoted = ('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values)
    return "{" + ",".join(quoted) + "}"
