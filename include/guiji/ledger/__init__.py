"""The ledger: batches, watermarks, files, leases, outbox. The only memory of a run (design §5).

What a function commits, it says; the others write in the caller's transaction.
``leases``, ``tickets`` and ``audit`` are parts of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.audit import append_audit, verify_audit
from guiji.errors import UsageError
from guiji.ledger.leases import (
    StaleRun,
    acquire_lease,
    check_lease,
    confirm_lease,
    hold_name,
    release_lease,
    release_run,
    stale_runs,
    transaction,
)
from guiji.ledger.schemas import Columns, describe_change, get_difference, record_schema
from guiji.masking import scrub
from guiji.records import BatchRecord, DeliveredFile, StagedBatch, Window
from guiji.tickets import close_tickets, open_tickets

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource
    from guiji.settings import Settings

    Conn = Connection[dict[str, Any]]


@dataclass(frozen=True)
class Watermark:
    """How far a resource has been read and published."""

    resource_id: str
    cursor: str | None  # exact source text
    batch_id: str
    snapshot_cache: str | None


@dataclass(frozen=True)
class KnownFile(DeliveredFile):
    """A file that was taken before, in which batch, and what became of that.

    ``published``: accepted. ``held`` or ``refused``: it waits for a person's decision, or a person decided against
    it; it is not taken again, but the same content in a new file is no redelivery of something accepted.
    """

    batch_id: str = ""
    status: str = "published"


# --- batches -----------------------------------------------------------------------------------------


def begin_batch(conn: Conn, resource: Resource, staged: StagedBatch, started_at: datetime) -> None:
    """Writes that a delivery is staged, and commits. A batch that is published or held stays as it is."""
    from psycopg.types.json import Jsonb

    with transaction(conn):
        conn.execute(
            """/* guiji ledger begin_batch */
            INSERT INTO ops.batch (batch_id, resource_id, department_id, window_start, window_end, status, rows_read,
              rows_skipped, sha256, started_at, staged_at, skipped, notes, fingerprint, directory, origin)
            VALUES (%(batch_id)s, %(resource_id)s, %(department_id)s, %(start)s, %(end)s, 'staged', %(rows)s,
              %(rows_skipped)s, %(sha256)s, %(started_at)s, %(staged_at)s, %(skipped)s, %(notes)s, %(fingerprint)s,
              %(directory)s, %(origin)s)
            ON CONFLICT (batch_id) DO UPDATE SET status = 'staged', rows_read = excluded.rows_read,
              rows_skipped = excluded.rows_skipped, sha256 = excluded.sha256, started_at = excluded.started_at,
              staged_at = excluded.staged_at, skipped = excluded.skipped, notes = excluded.notes,
              fingerprint = excluded.fingerprint, directory = excluded.directory,
              reason = NULL, responsible = NULL, cause = NULL
            WHERE ops.batch.status NOT IN ('published', 'held')""",
            {
                "batch_id": staged.batch_id,
                "resource_id": resource.id,
                "department_id": resource.model.department_id,
                "start": staged.window.start,
                "end": staged.window.end,
                "rows": staged.rows,
                "rows_skipped": sum(staged.skipped.values()),
                "sha256": staged.sha256,
                "started_at": started_at,
                "staged_at": staged.staged_at,
                "skipped": Jsonb(staged.skipped),
                "notes": Jsonb([scrub(n) for n in staged.notes]),
                "fingerprint": resource.fingerprint,
                "directory": staged.directory,
                "origin": resource.model.origin,
            },
        )
        record_schema(conn, resource, staged.batch_id, staged.delivered, staged.staged_at)


def get_batch(conn: Conn, batch_id: str) -> BatchRecord | None:
    row = conn.execute(
        "/* guiji ledger get_batch */ SELECT * FROM ops.batch WHERE batch_id = %s", (batch_id,)
    ).fetchone()
    return BatchRecord.from_row(row) if row else None


def latest_batch(conn: Conn, resource_id: str, status: str = "published") -> BatchRecord | None:
    """The batch of the latest window with this status; among several, the one that came last."""
    row = conn.execute(
        "/* guiji ledger latest_batch */ SELECT * FROM ops.batch WHERE resource_id = %s AND status = %s"
        " ORDER BY window_start DESC, batch_no DESC LIMIT 1",
        (resource_id, status),
    ).fetchone()
    return BatchRecord.from_row(row) if row else None


def finish_batch(
    conn: Conn,
    settings: Settings,
    resource: Resource,
    window: Window,
    batch_id: str,
    status: str,
    reason: str,
    responsible: str,
    cause: str,
    *,
    started_at: datetime | None = None,
    delivered: Columns = (),
) -> BatchRecord:
    """Writes how a batch ended that was not published (refused, failed, superseded), and commits.

    ``delivered`` are the columns of a delivery that was refused for them; what differs from the batch before is told.

    A refused delivery opens a ticket and tells the department; a source that is down or refuses us tells the
    keeper of the front-end, once per window and cause. A batch that is published or held stays as it is.
    """
    if status not in ("refused", "failed", "superseded"):
        raise UsageError(
            f"finish_batch got status {status!r}; allowed: refused, failed, superseded. Nothing was written."
        )
    now = settings.now()
    reason = scrub(reason)
    if any(scrub(name) != name for name, _ in delivered):
        delivered = ()  # a row of data stands where the header should: what it holds is neither kept nor told
    with transaction(conn):
        if delivered and (said := describe_change(conn, resource, delivered)[1]):
            reason = f"{reason}{scrub(said)}"
        row = conn.execute(
            """/* guiji ledger finish_batch */
            INSERT INTO ops.batch (batch_id, resource_id, department_id, window_start, window_end, status, started_at,
              reason, responsible, cause, fingerprint, origin)
            VALUES (%(batch_id)s, %(resource_id)s, %(department_id)s, %(start)s, %(end)s, %(status)s, %(started_at)s,
              %(reason)s, %(responsible)s, %(cause)s, %(fingerprint)s, %(origin)s)
            ON CONFLICT (batch_id) DO UPDATE SET status = excluded.status, reason = excluded.reason,
              responsible = excluded.responsible, cause = excluded.cause
            WHERE ops.batch.status NOT IN ('published', 'held')
            RETURNING *""",
            {
                "batch_id": batch_id,
                "resource_id": resource.id,
                "department_id": resource.model.department_id,
                "start": window.start,
                "end": window.end,
                "status": status,
                "started_at": started_at or now,
                "reason": reason,
                "responsible": responsible,
                "cause": cause,
                "fingerprint": resource.fingerprint,
                "origin": resource.model.origin,
            },
        ).fetchone()
        if row is None:
            row = conn.execute(
                "/* guiji ledger finish_batch */ SELECT * FROM ops.batch WHERE batch_id = %s", (batch_id,)
            ).fetchone()
            assert row is not None
            return BatchRecord.from_row(row)
        record_schema(conn, resource, batch_id, delivered, now)
        _tell(conn, settings, resource, window, batch_id, status, reason, responsible, cause)
        if status != "superseded":
            conn.execute(
                "/* guiji ledger finish_batch */ UPDATE ops.lease SET expires_at = clock_timestamp(), batch_id = NULL"
                " WHERE resource_id = %s AND holder = %s",
                (resource.id, hold_name(os.getpid())),
            )
        append_audit(
            conn,
            settings,
            "guiji",
            f"batch.{status}",
            batch_id,
            {"resource": resource.id, "cause": cause, "reason": reason},
        )
    return BatchRecord.from_row(row)


def add_notes(conn: Conn, batch_id: str, notes: Sequence[str]) -> None:
    """Appends to the notes of a batch what became known after it was published, in the caller's transaction."""
    from psycopg.types.json import Jsonb

    if notes:
        conn.execute(
            "/* guiji ledger add_notes */ UPDATE ops.batch SET notes = notes || %s WHERE batch_id = %s",
            (Jsonb([scrub(n) for n in notes]), batch_id),
        )


def _tell(
    conn: Conn,
    settings: Settings,
    resource: Resource,
    window: Window,
    batch_id: str,
    status: str,
    reason: str,
    responsible: str,
    cause: str,
) -> None:
    connection = getattr(resource.model.source, "connection", None)
    payload = {"reason": reason, "responsible": responsible, "connection": connection, "window": str(window)}
    if status == "refused" and responsible == "department":
        opened = open_tickets(conn, settings, resource, batch_id, {cause: 0})
        payload["tickets"] = opened
        add_event(
            conn,
            settings,
            resource.model.department_id,
            "refused",
            cause,
            resource_id=resource.id,
            batch_id=batch_id,
            dedupe=f"refused:{batch_id}:{cause}",
            payload=payload,
        )
    elif cause in ("source_unavailable", "source_refused"):
        kind = "unavailable" if cause == "source_unavailable" else "refused_us"
        add_event(
            conn,
            settings,
            resource.model.department_id,
            kind,
            f"{cause}:{connection}" if connection else cause,
            resource_id=resource.id,
            batch_id=batch_id,
            dedupe=f"{kind}:{resource.id}:{window}",
            payload=payload,
        )


def add_event(
    conn: Conn,
    settings: Settings,
    department_id: str,
    kind: str,
    cause: str,
    *,
    resource_id: str | None = None,
    batch_id: str | None = None,
    dedupe: str | None = None,
    payload: Mapping[str, Any] | None = None,
) -> int | None:
    """One row of the outbox in the caller's transaction; None when an event with the same ``dedupe`` is there."""
    from psycopg.types.json import Jsonb

    row = conn.execute(
        """/* guiji ledger add_event */
        INSERT INTO ops.outbox (department_id, resource_id, batch_id, kind, cause, dedupe, payload, created_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (dedupe) DO NOTHING RETURNING event_id""",
        (department_id, resource_id, batch_id, kind, cause, dedupe, Jsonb(dict(payload or {})), settings.now()),
    ).fetchone()
    return int(row["event_id"]) if row else None


# --- watermark and files -----------------------------------------------------------------------------


def get_watermark(conn: Conn, resource_id: str) -> Watermark | None:
    row = conn.execute(
        "/* guiji ledger get_watermark */ SELECT resource_id, cursor, batch_id, snapshot_cache FROM ops.watermark"
        " WHERE resource_id = %s",
        (resource_id,),
    ).fetchone()
    return Watermark(**row) if row else None


def known_files(conn: Conn, resource_id: str) -> list[KnownFile]:
    """Every file of the resource that was published or held, the latest first."""
    rows = conn.execute(
        "/* guiji ledger known_files */ SELECT f.path, f.size, f.modified_at, f.sha256, f.business_date::text, f.batch_id,"
        " b.status FROM ops.file f JOIN ops.batch b USING (batch_id) WHERE f.resource_id = %s"
        " ORDER BY f.recorded_at DESC, f.path",
        (resource_id,),
    )
    return [KnownFile(**row) for row in rows]


def record_files(conn: Conn, resource_id: str, batch_id: str, files: tuple[DeliveredFile, ...], at: datetime) -> None:
    """Enters the files of a batch in the file ledger, in the caller's transaction."""
    with conn.cursor() as cursor:
        cursor.executemany(
            """/* guiji ledger record_files */
            INSERT INTO ops.file (resource_id, path, size, modified_at, sha256, business_date, batch_id, recorded_at)
            VALUES (%(resource_id)s, %(path)s, %(size)s, %(modified_at)s, %(sha256)s, %(business_date)s, %(batch_id)s, %(at)s)
            ON CONFLICT DO NOTHING""",
            [{**asdict(f), "resource_id": resource_id, "batch_id": batch_id, "at": at} for f in files],
        )


def count_serving(conn: Conn, resource_id: str) -> int:
    """How many rows of a resource serve, from the ledger: counting three million would cost more than a small batch."""
    row = conn.execute(
        "/* guiji ledger count_serving */ SELECT coalesce(sum(rows_new - rows_deleted), 0)::bigint AS n FROM ops.batch"
        " WHERE resource_id = %s AND status = 'published'",
        (resource_id,),
    ).fetchone()
    return int(row["n"]) if row else 0


def find_cache(conn: Conn, settings: Settings, resource_id: str) -> Path | None:
    """The snapshot cache that the last publish adopted, where it is still there and holds as many rows as serve."""
    watermark = get_watermark(conn, resource_id)
    if watermark is None or watermark.snapshot_cache is None:
        return None
    path = settings.home / "cache" / resource_id / f"{watermark.snapshot_cache}.parquet"
    if not path.is_file():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError):
        return None
    return path if rows == count_serving(conn, resource_id) else None


def snapshot_cache(conn: Conn, settings: Settings, resource: Resource) -> str | None:
    """The cache of the rows that serve, where today's rules made it, so that rows may be carried over unchecked.

    None means that every row must be checked and compared again; nothing is lost by that but time.
    """
    if resource.model.load != "snapshot":
        return None
    row = conn.execute(
        "/* guiji ledger snapshot_cache */ SELECT b.fingerprint FROM ops.watermark w JOIN ops.batch b USING (batch_id)"
        " WHERE w.resource_id = %s",
        (resource.id,),
    ).fetchone()
    if row is None or row["fingerprint"] != resource.fingerprint:
        return None
    path = find_cache(conn, settings, resource.id)
    return str(path) if path else None


# --- runs that died


def report_stale_runs(conn: Conn, settings: Settings) -> list[StaleRun]:
    """Puts each stale run in the outbox, once; returns the ones that are new. In the caller's transaction."""
    return [
        run
        for run in stale_runs(conn, settings)
        if add_event(
            conn,
            settings,
            run.resource_id.split(".")[0],
            "stale",
            "stale_run",
            resource_id=run.resource_id,
            batch_id=run.batch_id,
            dedupe=f"stale:{run.resource_id}:{run.token}",
            payload={"holder": run.holder, "since": run.acquired_at.isoformat(), "responsible": "ours"},
        )
        is not None
    ]


__all__ = [
    "KnownFile",
    "StaleRun",
    "Watermark",
    "acquire_lease",
    "add_event",
    "add_notes",
    "append_audit",
    "begin_batch",
    "check_lease",
    "close_tickets",
    "confirm_lease",
    "count_serving",
    "find_cache",
    "finish_batch",
    "get_batch",
    "get_difference",
    "get_watermark",
    "known_files",
    "latest_batch",
    "open_tickets",
    "record_files",
    "release_lease",
    "release_run",
    "report_stale_runs",
    "snapshot_cache",
    "stale_runs",
    "transaction",
    "verify_audit",
]
