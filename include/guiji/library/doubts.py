"""Which values of the rows that serve are in doubt, where a batch judged them anew without changing them.

New and changed rows bring their doubts along; a row that a batch merely repeats can have got into doubt, or out of
it, by a change of the rules or by the passing of time. Rows in doubt are never carried over unjudged, so what a batch
says of its own rows is the newest word on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.library.load import copy_batches, list_parquet, read_batches
from guiji.library.tables import SUSPECT, match_sql, source_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from psycopg import Connection

    from guiji.catalog.models import Resource

    Conn = Connection[dict[str, Any]]


def renew_doubts(conn: Conn, resource: Resource, accepted: str, changes: str) -> int:
    """Sets ``_suspect`` of the serving rows that ``accepted`` repeats; returns how many rows that concerned.

    Those rows stand in the temporary table ``guiji_doubted`` then, for their library keys are dirty.
    """
    if accepted == changes or not _knows_doubts(accepted):
        return 0
    who, table = sql.SQL(resource.id), source_table(resource)
    served = {
        r["_row_hash"]
        for r in conn.execute(
            sql.SQL("/* guiji {} doubts */ SELECT _row_hash FROM {} WHERE {} IS NOT NULL").format(
                who, table, sql.Identifier(SUSPECT)
            )
        )
    }
    names = [*resource.model.key, "_row_hash", SUSPECT]
    conn.execute(
        sql.SQL(
            "/* guiji {} doubts */ CREATE TEMP TABLE guiji_doubt ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0"
        ).format(who, sql.SQL(", ").join(map(sql.Identifier, names)), table)
    )
    found = copy_batches(
        conn, sql.Identifier("guiji_doubt"), names, _told(accepted, names, served), who=f"{resource.id} doubts"
    )
    if not found:
        conn.execute("/* guiji doubts */ DROP TABLE guiji_doubt")
        return 0
    parts = {
        "who": who,
        "table": table,
        "match": match_sql(resource.model.key, "s", "n"),
        "suspect": sql.Identifier(SUSPECT),
    }
    renewed = conn.execute(
        sql.SQL(
            "/* guiji {who} doubts */ WITH renewed AS (UPDATE {table} s SET {suspect} = n.{suspect} FROM guiji_doubt n"
            " WHERE {match} AND s._row_hash = n._row_hash AND s._deleted_at IS NULL"
            " AND s.{suspect} IS DISTINCT FROM n.{suspect} RETURNING s.*) INSERT INTO guiji_doubted SELECT * FROM renewed"
        ).format(**parts)
    ).rowcount
    conn.execute("/* guiji doubts */ DROP TABLE guiji_doubt")
    return renewed


def _told(accepted: str, names: list[str], served: set[int]) -> Iterator[pa.RecordBatch]:
    """The judged rows that are in doubt, or that serve as being in doubt."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pa.array(sorted(served), pa.int64())
    for batch in read_batches(accepted, names):
        concerned = pc.or_(pc.is_valid(batch.column(len(names) - 1)), pc.is_in(batch.column(len(names) - 2), known))
        chosen = batch.filter(concerned)
        if chosen.num_rows:
            yield chosen


def _knows_doubts(path: str) -> bool:
    import pyarrow.parquet as pq

    return any(SUSPECT in pq.read_schema(file).names for file in list_parquet(path)[:1])
