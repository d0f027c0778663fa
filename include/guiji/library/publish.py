"""Publish: everything a batch changes, in one transaction (design §5). Nothing else is state.

The ledger row, the watermark, the file ledger, the rejected rows, the tickets and the outbox commit with the data or
not at all, so a crash leaves either the whole batch or nothing of it (F-01). A batch that is published already is
returned as it is, in milliseconds. The counts of the batch row are what PostgreSQL says it did; they must agree with
the difference, and the equation is a CHECK constraint, else everything is rolled back (F-54).
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji import ledger
from guiji.errors import UsageError, WarehouseUnavailable
from guiji.library import outcome, rows
from guiji.library.apply import Applied, apply_difference
from guiji.library.current import fetch_current
from guiji.library.doubts import renew_doubts
from guiji.library.load import list_parquet
from guiji.library.rivals import record_rivals
from guiji.library.transact import commit_batch, lock_table, tune
from guiji.records import BatchRecord, CheckedBatch, Difference, QualityReport, StagedBatch
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource

    Conn = Connection[dict[str, Any]]

#: more changes than this, and more than a tenth of the table: one marker makes the library's keys dirty
_MARK_ALL = 100_000


@dataclass(frozen=True)
class Approval:
    """A person's decision on a held batch."""

    who: str
    why: str


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
    record = commit_batch(
        conn,
        settings,
        resource.id,
        staged.batch_id,
        lambda: _publish(conn, resource, settings, staged, checked, quality, difference, token, approval),
    )
    if record.status == "published":
        _drop_old_caches(conn, resource, difference)
    return record


def publish_redelivered(
    conn: Conn, resource: Resource, settings: Settings, staged: StagedBatch, token: int
) -> BatchRecord:
    """Books a delivery whose content was accepted before: every row a duplicate, nothing else changes (F-35). Commits."""

    def book() -> BatchRecord:
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
        return record

    return commit_batch(conn, settings, resource.id, staged.batch_id, book)


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

    applied = apply_difference(conn, resource, settings, staged, difference)
    # a held batch whose rules changed since was judged again: its rejected rows are others
    was_held = former["status"] == "held" and former["fingerprint"] == checked.fingerprint
    if not was_held:
        rows.keep_rejected(conn, settings, resource, checked)
        rows.keep_findings(conn, resource, checked)
    if not applied.late:
        if not applied.first_load:
            renew_doubts(conn, resource, checked.accepted, difference.changes)
        rows.mark_dirty(conn, resource, staged.batch_id, now, mark_all=_marks_all(conn, resource, applied, difference))
    superseded = difference.rows_superseded + applied.superseded
    record = outcome.write_batch(
        conn,
        staged.batch_id,
        status="published",
        outcome=quality.outcome,  # of a held one that a person approved it stays ``held``
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
        fingerprint=checked.fingerprint,
        notes=[*staged.notes, *difference.notes],
    )
    if not applied.late:
        _set_watermark(conn, resource, staged, difference)
        outcome.tell(conn, settings, resource, staged, checked, was_held=was_held)
    ledger.record_files(conn, resource.id, staged.batch_id, staged.files, now)
    if not applied.late:
        record_rivals(conn, settings, resource, staged, checked)
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


def _tune(conn: Conn, resource: Resource) -> None:
    """For this transaction only: the resource's zone for times without one (F-08), and what ``tune`` sets."""
    conn.execute(
        "/* guiji publish */ SELECT set_config('TimeZone', %s, true)",
        (resource.model.time_zone,),
    )
    tune(conn)


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


__all__ = ["Approval", "fetch_current", "publish", "publish_redelivered"]
