"""A difference into the source table: what is new, changed, gone, and what turns out older than what serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.errors import AccountingError
from guiji.library import rows
from guiji.library.load import copy_parquet, count_rows
from guiji.library.tables import (
    SUSPECT,
    add_source_key,
    columns_sql,
    drop_source_key,
    ensure_mapping_indexes,
    ensure_source_table,
    match_sql,
    source_history,
    source_table,
)
from guiji.records import Difference, StagedBatch
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource

    Conn = Connection[dict[str, Any]]

FILE_KINDS = ("sftp", "ftp", "files")


@dataclass
class Applied:
    """What PostgreSQL says it did to the source table."""

    new: int = 0
    changed: int = 0
    deleted: int = 0
    #: rows of ``changes`` that turned out older than what serves (F-36)
    superseded: int = 0
    #: keys of ``deleted`` that a later file has brought back
    kept: int = 0
    first_load: bool = False
    late: bool = False


def apply_difference(
    conn: Conn, resource: Resource, settings: Settings, staged: StagedBatch, difference: Difference
) -> Applied:
    """Brings the difference into the source table and compares what was done with what was to be done."""
    created = ensure_source_table(conn, resource)
    if is_late_snapshot(conn, resource, staged):
        total = difference.rows_new + difference.rows_changed + difference.rows_unchanged
        rows.make_change_tables(conn, resource)
        if created:
            add_source_key(conn, resource)
        return Applied(superseded=total, late=True)
    if created or _is_empty(conn, resource):
        applied = _load_first(conn, resource, settings, staged, difference, created)
    else:
        applied = _load_changes(conn, resource, settings, staged, difference)
    gone = count_rows(difference.deleted)
    agrees = (
        applied.new + applied.changed + applied.superseded == difference.rows_new + difference.rows_changed
        and (applied.superseded > 0 or applied.new == difference.rows_new)
        and applied.deleted + applied.kept == gone
        # a tombstone deletes as well, where its key serves
        and difference.rows_deleted <= gone <= difference.rows_deleted + difference.rows_tombstone
    )
    if not agrees:
        raise AccountingError(
            f"Batch {staged.batch_id} of {resource.id} was to bring {difference.rows_new} new, {difference.rows_changed} "
            f"changed and {difference.rows_deleted} deleted rows, but the warehouse counted {applied.new}, "
            f"{applied.changed} and {applied.deleted}. Nothing was published; run the resource again.",
            batch_id=staged.batch_id,
        )
    return applied


def _load_first(
    conn: Conn, resource: Resource, settings: Settings, staged: StagedBatch, difference: Difference, created: bool
) -> Applied:
    """COPY straight into a table of this transaction (no WAL where the server allows it), the key afterwards."""
    table = source_table(resource)
    rows.make_change_tables(conn, resource)
    if not created:
        drop_source_key(conn, resource)
        conn.execute(sql.SQL("/* guiji {} first_load */ TRUNCATE {}").format(sql.SQL(resource.id), table))
    # what is the same in every row is a default for the length of the load: cheaper than three million copies of it
    _set_defaults(conn, table, {"_batch_id": staged.batch_id, "_published_at": settings.now()})
    n = copy_parquet(
        conn,
        table,
        difference.changes,
        rows.copied_columns(resource, difference.changes),
        who=f"{resource.id} first_load",
        freeze=True,
    )
    _set_defaults(conn, table, {"_batch_id": None, "_published_at": None})
    add_source_key(conn, resource)
    _remember_tombstones(conn, resource, settings, staged, difference)
    ensure_mapping_indexes(conn, resource)
    looked_up = dict.fromkeys([*resource.model.key, *(k for m in resource.model.mappings for k in m.key)])
    conn.execute(
        sql.SQL("/* guiji {} first_load */ ANALYZE {} ({})").format(
            sql.SQL(resource.id), table, columns_sql(list(looked_up))
        )
    )
    return Applied(new=n, first_load=True)


def _set_defaults(conn: Conn, table: sql.Identifier, values: dict[str, object]) -> None:
    clauses = [
        sql.SQL("ALTER COLUMN {} SET DEFAULT {}").format(sql.Identifier(c), sql.Literal(v))
        if v is not None
        else sql.SQL("ALTER COLUMN {} DROP DEFAULT").format(sql.Identifier(c))
        for c, v in values.items()
    ]
    conn.execute(sql.SQL("/* guiji first_load */ ALTER TABLE {} {}").format(table, sql.SQL(", ").join(clauses)))


def _load_changes(
    conn: Conn, resource: Resource, settings: Settings, staged: StagedBatch, difference: Difference
) -> Applied:
    """Only what changed: through a temporary table, superseded versions into the history, in key order."""
    model = resource.model
    table, who = source_table(resource), sql.SQL(resource.id)
    now = settings.now()
    ensure_mapping_indexes(conn, resource)
    rows.make_change_tables(conn, resource)
    fields = [f.name for f in model.fields]
    copy_parquet(
        conn,
        sql.Identifier("guiji_change"),
        difference.changes,
        [*rows.copied_columns(resource, difference.changes), "_op"],
        who=f"{resource.id} changes",
    )
    copy_parquet(conn, sql.Identifier("guiji_deleted"), difference.deleted, model.key, who=f"{resource.id} deleted")
    conn.execute("/* guiji changes */ ANALYZE guiji_change")
    conn.execute("/* guiji changes */ ANALYZE guiji_deleted")
    superseded, kept = _set_aside_older(conn, resource, staged)
    applied = Applied(superseded=superseded, kept=kept)

    versions = [*fields, "_batch_id", "_row_hash", "_published_at", "_origin", "_line"]
    match_change = match_sql(model.key, "s", "c")
    conn.execute(
        sql.SQL(
            "/* guiji {who} old */ INSERT INTO guiji_old"
            " SELECT s.* FROM {table} s JOIN guiji_change c ON {match} WHERE c._op = 'changed' AND s._deleted_at IS NULL"
            " UNION ALL SELECT s.* FROM {table} s JOIN guiji_deleted d ON {match_deleted} WHERE s._deleted_at IS NULL"
        ).format(who=who, table=table, match=match_change, match_deleted=match_sql(model.key, "s", "d"))
    )
    conn.execute(
        sql.SQL(
            "/* guiji {who} history */ INSERT INTO {history} ({columns}, _superseded_at, _superseded_by)"
            " SELECT {columns}, {now}, {batch} FROM guiji_old"
        ).format(
            who=who,
            history=source_history(resource),
            columns=columns_sql(versions),
            now=sql.Literal(now),
            batch=sql.Literal(staged.batch_id),
        )
    )
    updated = sql.SQL(", ").join(
        sql.SQL("{0} = c.{0}").format(sql.Identifier(n)) for n in (*fields, "_row_hash", "_origin", "_line", SUSPECT)
    )
    applied.changed = conn.execute(
        sql.SQL(
            "/* guiji {who} changed */ UPDATE {table} s SET {updated}, _batch_id = %(batch)s, _published_at = %(now)s"
            " FROM guiji_change c WHERE {match} AND c._op = 'changed' AND s._deleted_at IS NULL"
        ).format(who=who, table=table, updated=updated, match=match_change),
        {"batch": staged.batch_id, "now": now},
    ).rowcount
    taken = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(n))
        for n in (
            *(f for f in fields if f not in model.key),
            "_row_hash",
            "_origin",
            "_line",
            SUSPECT,
            "_batch_id",
            "_published_at",
        )
    )
    # a key that was deleted and returns is new; a key that serves already is not, and breaks the equation
    applied.new = conn.execute(
        sql.SQL(
            "/* guiji {who} new */ INSERT INTO {table} AS s ({columns}, _batch_id, _published_at)"
            " SELECT {columns}, %(batch)s, %(now)s FROM guiji_change WHERE _op = 'new' ORDER BY {key}"
            " ON CONFLICT ({key}) DO UPDATE SET {taken}, _deleted_at = NULL WHERE s._deleted_at IS NOT NULL"
        ).format(
            who=who,
            table=table,
            columns=columns_sql(rows.loaded_columns(resource)),
            key=columns_sql(model.key),
            taken=taken,
        ),
        {"batch": staged.batch_id, "now": now},
    ).rowcount
    applied.deleted = conn.execute(
        sql.SQL(
            "/* guiji {who} deleted */ UPDATE {table} s SET _deleted_at = %(now)s, _batch_id = %(batch)s"
            " FROM guiji_deleted d WHERE {match} AND s._deleted_at IS NULL"
        ).format(who=who, table=table, match=match_sql(model.key, "s", "d")),
        {"batch": staged.batch_id, "now": now},
    ).rowcount
    _remember_tombstones(conn, resource, settings, staged, difference)
    return applied


def _remember_tombstones(
    conn: Conn, resource: Resource, settings: Settings, staged: StagedBatch, difference: Difference
) -> None:
    """Gives every deleted key the order fields of its marker, also a key that never served: a row that arrives late
    and is older stays away then, as it would have been replaced had it come in time (F-36)."""
    if difference.tombstones is None:
        return
    model, table, who = resource.model, source_table(resource), sql.SQL(resource.id)
    order = [o for o in model.order if o not in model.key]
    columns = [*model.key, *order]
    conn.execute(
        sql.SQL(
            "/* guiji {} temp */ CREATE TEMP TABLE guiji_tombstone ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0"
        ).format(who, columns_sql(columns), table)
    )
    target = sql.Identifier("guiji_tombstone")
    copy_parquet(conn, target, difference.tombstones, columns, who=f"{resource.id} tombstones")
    conn.execute("/* guiji tombstones */ ANALYZE guiji_tombstone")
    match = match_sql(model.key, "s", "t")
    if order:
        taken = sql.SQL(", ").join(sql.SQL("{0} = t.{0}").format(sql.Identifier(o)) for o in order)
        conn.execute(
            sql.SQL(
                "/* guiji {} tombstones */ UPDATE {} s SET {} FROM guiji_tombstone t WHERE {} AND s._deleted_at IS NOT NULL"
            ).format(who, table, taken, match)
        )
    conn.execute(
        sql.SQL(
            "/* guiji {who} tombstones */ INSERT INTO {table} ({columns}, _batch_id, _row_hash, _published_at, _deleted_at)"
            " SELECT {columns}, %(batch)s, 0, %(now)s, %(now)s FROM guiji_tombstone t"
            " WHERE NOT EXISTS (SELECT FROM {table} s WHERE {match})"
        ).format(who=who, table=table, columns=columns_sql(columns), match=match),
        {"batch": staged.batch_id, "now": settings.now()},
    )


def _is_empty(conn: Conn, resource: Resource) -> bool:
    return (
        conn.execute(
            sql.SQL("/* guiji {} empty */ SELECT 1 FROM {} LIMIT 1").format(
                sql.SQL(resource.id), source_table(resource)
            )
        ).fetchone()
        is None
    )


def _business_date(staged: StagedBatch) -> str | None:
    return max((f.business_date for f in staged.files if f.business_date), default=None)


def is_late_snapshot(conn: Conn, resource: Resource, staged: StagedBatch) -> bool:
    """A file that holds an older state of the table than the one that serves (F-36).

    A pull reads what the source holds now, whatever its window, and is never late.
    """
    model = resource.model
    if model.load != "snapshot" or model.source.kind not in FILE_KINDS:
        return False
    day = _business_date(staged)
    if day is not None:
        query = (
            "/* guiji late */ SELECT 1 FROM ops.file JOIN ops.batch b USING (batch_id) WHERE ops.file.resource_id = %s"
            " AND b.status = 'published' AND business_date > %s LIMIT 1"
        )
        return conn.execute(query, (resource.id, day)).fetchone() is not None
    query = (
        "/* guiji late */ SELECT 1 FROM ops.batch WHERE resource_id = %s AND status = 'published' AND window_start > %s"
        " AND rows_duplicate < rows_read LIMIT 1"
    )
    return conn.execute(query, (resource.id, staged.window.start)).fetchone() is not None


def _set_aside_older(conn: Conn, resource: Resource, staged: StagedBatch) -> tuple[int, int]:
    """Takes rows out of changes and deletions whose key a later file of the series has set (F-36), or, where no file
    has a date, a delivery that was fetched later, as for a held batch that waited; returns how many.

    Where the resource declares an order, the comparison has decided already.
    """
    model = resource.model
    if model.order or model.load != "incremental":
        return 0, 0
    day = _business_date(staged) if model.source.kind in FILE_KINDS else None
    values = {"resource": resource.id, "day": day, "batch": staged.batch_id}
    later = (
        "SELECT l.batch_id FROM ops.batch l JOIN ops.batch h ON h.batch_id = %(batch)s"
        " WHERE l.resource_id = %(resource)s AND (l.staged_at, l.batch_no) > (h.staged_at, h.batch_no)"
        if day is None
        else "SELECT f.batch_id FROM ops.file f WHERE f.resource_id = %(resource)s GROUP BY 1"
        " HAVING max(f.business_date) > %(day)s"
    )
    removed = []
    for target in ("guiji_change", "guiji_deleted"):
        done = conn.execute(
            sql.SQL("/* guiji {} older */ DELETE FROM {} c USING {} s WHERE {} AND s._batch_id IN ({})").format(
                sql.SQL(resource.id),
                sql.Identifier(target),
                source_table(resource),
                match_sql(model.key, "s", "c"),
                sql.SQL(later),
            ),
            values,
        )
        removed.append(done.rowcount)
    return removed[0], removed[1]
