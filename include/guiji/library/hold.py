"""Batches that a guard holds: nothing changes until a person decides, the former data go on serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guiji import ledger, tickets
from guiji.causes import join_reasons
from guiji.errors import UsageError
from guiji.library import outcome, rows
from guiji.library.apply import FILE_KINDS
from guiji.library.publish import Approval, publish
from guiji.library.transact import commit_batch
from guiji.records import BatchRecord, CheckedBatch, Difference, QualityReport, StagedBatch
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource

    Conn = Connection[dict[str, Any]]


def hold_batch(
    conn: Conn,
    resource: Resource,
    settings: Settings,
    staged: StagedBatch,
    checked: CheckedBatch,
    quality: QualityReport,
    difference: Difference,
    token: int,
    reasons: Sequence[str],
) -> BatchRecord:
    """Writes that a batch waits for a person, with its rejected rows and findings, and tells both sides; commits.

    ``rows_held`` is every row that is neither rejected nor duplicate. Nothing changes in ``source.*``; the watermark
    stays, so that what a later run reads again is not lost. A second call returns the same row.
    """

    def hold() -> BatchRecord:
        former = ledger.get_batch(conn, staged.batch_id)
        if former is not None and former.status in ("held", "published"):
            return former
        ledger.check_lease(conn, resource.id, token)
        reason = join_reasons(reasons)
        rows.keep_rejected(conn, settings, resource, checked)
        rows.keep_findings(conn, resource, checked)
        record = outcome.write_batch(
            conn,
            staged.batch_id,
            status="held",
            outcome="held",
            rows_read=checked.rows_read,
            rows_rejected=checked.rows_rejected,
            rows_duplicate=checked.rows_duplicate,
            rows_held=checked.rows_read - checked.rows_rejected - checked.rows_duplicate,
            rows_deleted=0,
            reason=reason,
            rules=checked.rules,
            fingerprint=checked.fingerprint,
            notes=[*staged.notes, *difference.notes],
        )
        # the file waits with its batch: a later run must not make a second held batch of it
        ledger.record_files(conn, resource.id, staged.batch_id, staged.files, settings.now())
        _, new_rows = tickets.track_rejected(conn, settings, resource, staged.batch_id)
        would = {
            "rows_new": difference.rows_new,
            "rows_changed": difference.rows_changed,
            "rows_deleted": difference.rows_deleted,
            "rows_unchanged": difference.rows_unchanged,
            "current_rows": difference.current_rows,
        }
        ledger.add_event(
            conn,
            settings,
            resource.model.department_id,
            "held",
            "held",
            resource_id=resource.id,
            batch_id=staged.batch_id,
            dedupe=f"held:{staged.batch_id}",
            payload=outcome.failed_payload(staged, checked, new_rows) | {"reasons": list(reasons), "would": would},
        )
        ledger.append_audit(
            conn,
            settings,
            "guiji",
            "batch.held",
            staged.batch_id,
            {"resource": resource.id, "reasons": list(reasons), "counts": outcome.counts(record), "would": would},
        )
        ledger.release_lease(conn, resource.id, token)
        return record

    return commit_batch(conn, settings, resource.id, staged.batch_id, hold)


def approve_held(
    conn: Conn,
    resource: Resource,
    settings: Settings,
    staged: StagedBatch,
    checked: CheckedBatch,
    quality: QualityReport,
    difference: Difference,
    token: int,
    *,
    who: str,
    why: str,
) -> BatchRecord:
    """Publishes a held batch after all: its row moves the held rows to where they belong; the audit keeps the former
    counts. Commits.

    ``difference`` is computed anew, for the data that serve may have moved on. Raises UsageError when the batch is not
    held, or when a later delivery of the snapshot serves already.
    """
    _demand_why(why)
    record = _demand_held(conn, staged.batch_id, published_is_fine=True)
    if record.status == "published":
        return record
    newer = _find_newer(conn, resource, record) if resource.model.load == "snapshot" else None
    if newer is not None:
        raise UsageError(
            f"Batch {record.batch_id} holds an older state of {resource.id} than batch {newer}, which serves "
            "since. Nothing was changed; reject it with `./guiji hold reject`."
        )
    return publish(conn, resource, settings, staged, checked, quality, difference, token, approval=Approval(who, why))


def reject_held(conn: Conn, settings: Settings, batch_id: str, *, who: str, why: str) -> BatchRecord:
    """Refuses a held batch for good; the former data go on serving and the department is told. Commits."""
    _demand_why(why)
    with ledger.transaction(conn):
        conn.execute("/* guiji reject_held */ SELECT 1 FROM ops.batch WHERE batch_id = %s FOR UPDATE", (batch_id,))
        former = _demand_held(conn, batch_id)
        record = outcome.write_batch(
            conn,
            batch_id,
            status="refused",
            responsible="department",
            cause="held.rejected",
            reason=f"{former.reason or 'held'}; rejected by {who}: {why}",
        )
        ledger.add_event(
            conn,
            settings,
            former.resource_id.split(".")[0],
            "refused",
            "held.rejected",
            resource_id=former.resource_id,
            batch_id=batch_id,
            dedupe=f"refused:{batch_id}:held.rejected",
            payload={"reason": why, "held_for": former.reason},
        )
        ledger.append_audit(
            conn, settings, who, "batch.rejected", batch_id, {"why": why, "former": outcome.counts(former)}
        )
    return record


def list_held(conn: Conn) -> list[dict[str, Any]]:
    """The batches that wait for a decision, the longest waiting first."""
    return conn.execute(
        "/* guiji list_held */ SELECT batch_id, resource_id, department_id, window_start, window_end, started_at, rows_read,"
        " rows_rejected, rows_held, reason FROM ops.batch WHERE status = 'held' ORDER BY started_at, batch_id"
    ).fetchall()


def show_held(conn: Conn, batch_id: str) -> dict[str, Any]:
    """A held batch: its ledger row with the rules that failed, and under ``would`` what publishing it would do."""
    _demand_held(conn, batch_id)
    row = conn.execute(
        """/* guiji show_held */
        SELECT b.*, (SELECT a.detail -> 'would' FROM ops.audit a WHERE a.object = b.batch_id AND a.action = 'batch.held'
                     ORDER BY audit_id DESC LIMIT 1) AS would
        FROM ops.batch b WHERE b.batch_id = %s""",
        (batch_id,),
    ).fetchone()
    assert row is not None
    return row


def _demand_held(conn: Conn, batch_id: str, *, published_is_fine: bool = False) -> BatchRecord:
    record = ledger.get_batch(conn, batch_id)
    if record is None:
        raise UsageError(f"There is no batch {batch_id}. Nothing was changed; `./guiji hold list` names the held ones.")
    if record.status != "held" and not (published_is_fine and record.status == "published"):
        raise UsageError(
            f"Batch {batch_id} is not held but {record.status}. Nothing was changed; `./guiji hold list` names the held ones."
        )
    return record


def _demand_why(why: str) -> None:
    if not why.strip():
        raise UsageError("A decision on a held batch needs a reason. Nothing was changed; give one with --why.")


def _find_newer(conn: Conn, resource: Resource, held: BatchRecord) -> str | None:
    """A published snapshot that was fetched later. Of files, one of an earlier window is a late delivery of the past; a
    pull reads what the source holds now, whatever its window."""
    row = conn.execute(
        "/* guiji approve_held */ SELECT l.batch_id FROM ops.batch l JOIN ops.batch h ON h.batch_id = %s"
        " WHERE l.resource_id = h.resource_id AND l.status = 'published' AND (l.staged_at, l.batch_no) > (h.staged_at, h.batch_no)"
        " AND (l.window_start >= h.window_start OR NOT %s) ORDER BY l.staged_at DESC, l.batch_no DESC LIMIT 1",
        (held.batch_id, resource.model.source.kind in FILE_KINDS),
    ).fetchone()
    return str(row["batch_id"]) if row else None
