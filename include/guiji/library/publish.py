"""Publish: everything a batch changes, in one transaction (design §5). Nothing else is state.

The ledger row, the watermark, the file ledger, the rejected rows, the tickets and the outbox commit with the data or
not at all, so a crash leaves either the whole batch or nothing of it (F-01). A batch that is published already is
returned as it is, in milliseconds. The counts of the batch row are what PostgreSQL says it did; they must agree with
the difference, and the equation is a CHECK constraint, else everything is rolled back (F-54).
"""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import errors, sql

from guiji import ledger
from guiji.errors import AccountingError, UsageError, WarehouseUnavailable
from guiji.library import outcome, rows
from guiji.library.current import fetch_current
from guiji.library.load import copy_parquet, count_rows, list_parquet
from guiji.library.tables import (
    add_source_key,
    columns_sql,
    drop_source_key,
    ensure_mapping_indexes,
    ensure_source_table,
    match_sql,
    source_history,
    source_table,
)
from guiji.records import BatchRecord, CheckedBatch, Difference, QualityReport, StagedBatch
from guiji.settings import Settings, failpoint

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource

    Conn = Connection[dict[str, Any]]

T = TypeVar("T")
_TRIES = 6
#: more changes than this, and more than a tenth of the table: one marker makes the library's keys dirty
_MARK_ALL = 100_000
_FILE_KINDS = ("sftp", "ftp", "files")


@dataclass(frozen=True)
class Approval:
    """A person's decision on a held batch."""

    who: str
    why: str


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


def publish(
    conn: Conn,
    resource: Resource,
    settings: Settings,
    staged: StagedBatch,
    checked: CheckedBatch,
    quality: QualityReport,
    difference: Difference,
    token: int,
    *,
    approval: Approval | None = None,
) -> BatchRecord:
    """Publishes a judged batch and returns its row; commits. A second call returns the same row and does nothing.

    Raises LeaseLost when a newer run has taken over, AccountingError when the counts don't agree,
    WarehouseUnavailable when the warehouse is full or gone. Whatever is raised, nothing was published.
    """
    _demand_space(settings, difference)

    def once() -> BatchRecord:
        with ledger.transaction(conn):
            record = _publish(conn, resource, settings, staged, checked, quality, difference, token, approval)
            failpoint(settings, "publish.before_commit")
        return record

    with translate_errors(resource.id, staged.batch_id):
        record = retry(conn, once)
    failpoint(settings, "publish.after_commit")
    if record.status == "published":
        _drop_old_caches(conn, resource, difference)
    return record


def publish_redelivered(
    conn: Conn, resource: Resource, settings: Settings, staged: StagedBatch, token: int
) -> BatchRecord:
    """Books a delivery whose content was accepted before: every row a duplicate, nothing else changes (F-35). Commits."""

    def once() -> BatchRecord:
        with ledger.transaction(conn):
            row = _lock_batch(conn, staged.batch_id)
            if row["status"] == "published":
                return BatchRecord.from_row(row)
            ledger.check_lease(conn, resource.id, token)
            now = settings.now()
            ledger.record_files(conn, resource.id, staged.batch_id, staged.files, now)
            record = outcome.write_batch(
                conn,
                staged.batch_id,
                status="published",
                outcome="passed",
                published_at=now,
                rows_read=staged.rows,
                rows_duplicate=staged.rows,
                reason=f"redelivered: same content as {staged.redelivered_of}",
            )
            ledger.append_audit(
                conn, settings, "guiji", "batch.redelivered", staged.batch_id, {"same_as": staged.redelivered_of}
            )
            ledger.release_lease(conn, resource.id, token)
            failpoint(settings, "publish.before_commit")
        return record

    with translate_errors(resource.id, staged.batch_id):
        record = retry(conn, once)
    failpoint(settings, "publish.after_commit")
    return record


def _publish(
    conn: Conn,
    resource: Resource,
    settings: Settings,
    staged: StagedBatch,
    checked: CheckedBatch,
    quality: QualityReport,
    difference: Difference,
    token: int,
    approval: Approval | None,
) -> BatchRecord:
    former = _lock_batch(conn, staged.batch_id)
    if former["status"] == "published" or (former["status"] == "held" and approval is None):
        return BatchRecord.from_row(former)
    ledger.check_lease(conn, resource.id, token)
    lock_table(conn, f"source.{resource.model.table}")
    _tune(conn, resource)
    now = settings.now()

    applied = _apply(conn, resource, settings, staged, difference)
    was_held = former["status"] == "held"
    if not was_held:
        rows.keep_rejected(conn, settings, resource, checked)
        rows.keep_findings(conn, resource, checked)
    if not applied.late:
        rows.mark_dirty(conn, resource, staged.batch_id, now, mark_all=_marks_all(conn, resource, applied, difference))
    superseded = difference.rows_superseded + applied.superseded
    record = outcome.write_batch(
        conn,
        staged.batch_id,
        status="published",
        outcome=outcome.judge_outcome(checked, quality),
        published_at=now,
        rows_read=checked.rows_read,
        rows_rejected=checked.rows_rejected,
        rows_held=0,
        rows_duplicate=checked.rows_duplicate,
        rows_superseded=superseded,
        rows_tombstone=difference.rows_tombstone,
        rows_new=applied.new,
        rows_changed=applied.changed,
        rows_unchanged=0 if applied.late else difference.rows_unchanged,
        rows_deleted=applied.deleted,
        reason=_reason(applied, approval, former["reason"]),
        rules=checked.rules,
        fingerprint=resource.fingerprint,
        notes=[*staged.notes, *difference.notes],
    )
    if not applied.late:
        _set_watermark(conn, resource, staged, difference)
        outcome.tell(conn, settings, resource, staged, checked, was_held=was_held)
    ledger.record_files(conn, resource.id, staged.batch_id, staged.files, now)
    detail: dict[str, Any] = {"resource": resource.id, "counts": outcome.counts(record)}
    if approval:
        detail |= {"why": approval.why, "former": outcome.counts(BatchRecord.from_row(former))}
    ledger.append_audit(
        conn,
        settings,
        approval.who if approval else "guiji",
        "batch.approved" if approval else "batch.published",
        staged.batch_id,
        detail,
    )
    ledger.release_lease(conn, resource.id, token)
    return record


# --- the source table --------------------------------------------------------------------------------


def _apply(conn: Conn, resource: Resource, settings: Settings, staged: StagedBatch, difference: Difference) -> Applied:
    """Brings the difference into the source table and compares what was done with what was to be done."""
    created = ensure_source_table(conn, resource)
    if _is_late_snapshot(conn, resource, staged):
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
        conn, table, difference.changes, rows.loaded_columns(resource), who=f"{resource.id} first_load", freeze=True
    )
    _set_defaults(conn, table, {"_batch_id": None, "_published_at": None})
    add_source_key(conn, resource)
    ensure_mapping_indexes(conn, resource)
    conn.execute(
        sql.SQL("/* guiji {} first_load */ ANALYZE {} ({})").format(
            sql.SQL(resource.id), table, columns_sql(resource.model.key)
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
        [*rows.loaded_columns(resource), "_op"],
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
        sql.SQL("{0} = c.{0}").format(sql.Identifier(n)) for n in (*fields, "_row_hash", "_origin", "_line")
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
    return applied


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


def _is_late_snapshot(conn: Conn, resource: Resource, staged: StagedBatch) -> bool:
    """A file that holds an older state of the table than the one that serves (F-36).

    A pull reads what the source holds now, whatever its window, and is never late.
    """
    model = resource.model
    if model.load != "snapshot" or model.source.kind not in _FILE_KINDS:
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
    """Takes rows out of changes and deletions whose key a later file of the series has set; returns how many (F-36).

    Where the resource declares an order, the comparison has decided already.
    """
    model = resource.model
    day = _business_date(staged)
    if model.order or model.load != "incremental" or model.source.kind not in _FILE_KINDS or day is None:
        return 0, 0
    values = {"resource": resource.id, "day": day}
    removed = []
    for target in ("guiji_change", "guiji_deleted"):
        done = conn.execute(
            sql.SQL(
                "/* guiji {} older */ DELETE FROM {} c USING {} s WHERE {} AND s._batch_id IN"
                " (SELECT f.batch_id FROM ops.file f WHERE f.resource_id = %(resource)s GROUP BY 1"
                " HAVING max(f.business_date) > %(day)s)"
            ).format(
                sql.SQL(resource.id), sql.Identifier(target), source_table(resource), match_sql(model.key, "s", "c")
            ),
            values,
        )
        removed.append(done.rowcount)
    return removed[0], removed[1]


# --- what goes with it -------------------------------------------------------------------------------


def _marks_all(conn: Conn, resource: Resource, applied: Applied, difference: Difference) -> bool:
    changes = applied.new + applied.changed
    if applied.first_load or (changes > _MARK_ALL and changes > difference.current_rows // 10):
        return True
    previous = conn.execute(
        "/* guiji rules */ SELECT b.fingerprint FROM ops.watermark w JOIN ops.batch b USING (batch_id)"
        " WHERE w.resource_id = %s",
        (resource.id,),
    ).fetchone()
    return previous is not None and previous["fingerprint"] != resource.fingerprint


def _set_watermark(conn: Conn, resource: Resource, staged: StagedBatch, difference: Difference) -> None:
    former = ledger.get_watermark(conn, resource.id)
    cursor = newer_cursor(former.cursor if former else None, staged.cursor_max)
    conn.execute(
        """/* guiji publish watermark */
        INSERT INTO ops.watermark (resource_id, cursor, batch_id, snapshot_cache, updated_at)
        VALUES (%(resource)s, %(cursor)s, %(batch)s, %(cache)s, clock_timestamp())
        ON CONFLICT (resource_id) DO UPDATE SET cursor = excluded.cursor, batch_id = excluded.batch_id,
          snapshot_cache = excluded.snapshot_cache, updated_at = excluded.updated_at""",
        {
            "resource": resource.id,
            "cursor": cursor,
            "batch": staged.batch_id,
            "cache": Path(difference.cache).stem if difference.cache else None,
        },
    )


def newer_cursor(a: str | None, b: str | None) -> str | None:
    """The larger of two cursors' exact source texts: a backfill of a past window never sets a watermark back."""
    if a is None or b is None:
        return b if a is None else a
    return max((a, b), key=_cursor_order) if _cursor_order(a)[0] == _cursor_order(b)[0] else b


def _cursor_order(text: str) -> tuple[str, Any]:
    from datetime import datetime
    from decimal import Decimal, InvalidOperation

    try:
        return "number", Decimal(text)
    except InvalidOperation:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return "text", text
    # finer than a microsecond decides where the moments are equal (F-04)
    return ("aware" if moment.tzinfo else "naive"), (moment, text)


def _reason(applied: Applied, approval: Approval | None, former: str | None) -> str | None:
    if approval:
        return f"{former or 'held'}; approved by {approval.who}: {approval.why}"
    return "older than what serves: the delivery is kept, its rows are superseded" if applied.late else None


def _lock_batch(conn: Conn, batch_id: str) -> dict[str, Any]:
    row = conn.execute(
        "/* guiji publish batch */ SELECT * FROM ops.batch WHERE batch_id = %s FOR UPDATE", (batch_id,)
    ).fetchone()
    if row is None:
        raise UsageError(f"There is no batch {batch_id} in the ledger. Nothing was published; stage it first.")
    return row


def lock_table(conn: Conn, name: str) -> None:
    """Makes the writers of one table take turns until the transaction ends (F-50)."""
    conn.execute("/* guiji lock */ SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))


def _tune(conn: Conn, resource: Resource) -> None:
    """For this transaction only: the resource's zone for times without one (F-08), and what ``tune`` sets."""
    conn.execute(
        "/* guiji publish */ SELECT set_config('TimeZone', %s, true)",
        (resource.model.time_zone,),
    )
    tune(conn)


def tune(conn: Conn) -> None:
    """For this transaction only: memory to build keys, and index probes for few keys in a large table."""
    conn.execute(
        "/* guiji tune */ SELECT set_config('maintenance_work_mem', '256MB', true), set_config('work_mem', '64MB', true),"
        " set_config('random_page_cost', '1.1', true)"
    )


def _demand_space(settings: Settings, difference: Difference) -> None:
    """Raises WarehouseUnavailable before a load that the embedded server's disk can't take (F-53)."""
    if settings.warehouse is not None:
        return
    size = sum(p.stat().st_size for p in list_parquet(difference.changes))
    need, free = 8 * size + (64 << 20), shutil.disk_usage(settings.home).free
    if free < need:
        raise WarehouseUnavailable(
            f"The disk of the warehouse has {free >> 20} MB left, this batch needs about {need >> 20} MB. Nothing was "
            "published and the former data go on serving; free space in GUIJI_HOME and run the resource again."
        )


def _drop_old_caches(conn: Conn, resource: Resource, difference: Difference) -> None:
    """Removes the snapshot caches that the adopted one replaces; any of them can be rebuilt at any time."""
    watermark = ledger.get_watermark(conn, resource.id)
    conn.commit()
    if difference.cache is None or watermark is None:
        return
    for path in Path(difference.cache).parent.glob("*.parquet"):
        if path.stem != watermark.snapshot_cache:
            with contextlib.suppress(OSError):
                path.unlink()


# --- errors ------------------------------------------------------------------------------------------


def retry(conn: Conn, once: Callable[[], T]) -> T:
    """``once`` again where another writer got in the way (deadlock, serialization, a key written meanwhile)."""
    for attempt in range(_TRIES):
        try:
            return once()
        except (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation):
            conn.rollback()
            if attempt == _TRIES - 1:
                raise
            time.sleep(random.uniform(0.02, 0.1) * 2**attempt)  # noqa: S311
    raise AssertionError("unreachable")


@contextlib.contextmanager
def translate_errors(resource_id: str, batch_id: str) -> Iterator[None]:
    """PostgreSQL's errors as ours; none carries a value."""
    holds = "Nothing was published and the former data go on serving"
    try:
        yield
    except errors.CheckViolation as exc:
        if exc.diag.constraint_name != "rows_accounted_for":
            raise
        raise AccountingError(
            f"The rows of batch {batch_id} of {resource_id} don't add up. {holds}; run the resource again.",
            batch_id=batch_id,
        ) from None
    except errors.UniqueViolation as exc:
        raise AccountingError(
            f"Batch {batch_id} of {resource_id} holds a key twice ({exc.diag.constraint_name}). {holds}; this is a defect "
            "of the check step, report it.",
            batch_id=batch_id,
        ) from None
    except (errors.DiskFull, errors.IoError, errors.InternalError_) as exc:
        # a file that may not grow any more is an internal error to PostgreSQL
        if isinstance(exc, errors.InternalError_) and "file" not in (exc.diag.message_primary or ""):
            raise
        raise WarehouseUnavailable(
            f"The disk of the warehouse is full or broken ({exc.sqlstate}). {holds}; free space, then run the resource again."
        ) from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
        if isinstance(exc, errors.QueryCanceled):
            raise
        raise WarehouseUnavailable(
            f"The connection to the warehouse broke while batch {batch_id} was published ({exc.sqlstate or 'no answer'}). "
            "Either the whole batch is there or nothing of it; run the resource again, the ledger knows."
        ) from None


__all__ = ["Approval", "fetch_current", "publish", "publish_redelivered"]
